# %% not their mean
check_folds(lambda n: 0.9)


# %% asked for 3 folds
def all_folds(n):
    model = {"BaselineOnly": surprise.BaselineOnly(verbose=False)}
    return evaluate(model, split(ratings, 2, random_state=RANDOM_STATE))["RMSE"]


check_folds(all_folds)


# %% this is the MAE
def mean_absolute(n):
    model = {"BaselineOnly": surprise.BaselineOnly(verbose=False)}
    return evaluate(model, split(ratings, n, random_state=RANDOM_STATE))["MAE"]


check_folds(mean_absolute)


# %% has learned from
def on_what_was_seen(n):
    model = {"BaselineOnly": surprise.BaselineOnly(verbose=False)}
    seen = [(train, train) for train, _ in split(ratings, n, random_state=RANDOM_STATE)]
    return evaluate(model, seen)["RMSE"]


check_folds(on_what_was_seen)


# %% these are other folds
def another_draw(n):
    model = {"BaselineOnly": surprise.BaselineOnly(verbose=False)}
    return evaluate(model, split(ratings, n, random_state=RANDOM_STATE + 7))["RMSE"]


check_folds(another_draw)
# %% gives nothing back
check_folds(lambda n: None)
# %% one column of the table
check_folds(lambda n: evaluate({"": GlobalMean()}, split(ratings, n)))
# %% or another model
check_folds(lambda n: evaluate({"": GlobalMean()}, split(ratings, n, random_state=RANDOM_STATE))["RMSE"])
# %% its *precision* is 0.82
check_base_rate(lambda f1: f1)
# %% turn it round
check_base_rate(lambda f1: 2 * f1 / (1 + f1))
# %% not per cent
check_base_rate(lambda f1: 100 * f1 / (2 - f1))
# %% with this base rate its F1 is 0.667
check_base_rate(lambda f1: 0.5)
# %% right for 0.82
check_base_rate(lambda f1: 0.695)
# %% give back one number
check_base_rate(lambda f1: (f1, 1.0))
# %% is no share
check_base_rate(lambda f1: f1 / (2 - 2 * f1))


# %% changed places
def both_quarters(gain, order):
    n = len(order) // 4
    return gain[order.nsmallest(n).index].mean(), gain[order.nlargest(n).index].mean()


check_quarters(lambda gain, order: both_quarters(gain, order)[::-1])
# %% take the mean of a quarter
check_quarters(
    lambda gain, order: [gain[order <= len(order) / 2].mean(), gain[order > len(order) / 2].mean()]
)
# %% ordered by the gain
check_quarters(lambda gain, order: both_quarters(gain, gain))
# %% at each end of the order
check_quarters(
    lambda gain, order: [gain.iloc[: len(gain) // 4].mean(), gain.iloc[-(len(gain) // 4) :].mean()]
)
# %% give back two numbers
check_quarters(lambda gain, order: gain)
# %% KeyError in line 1 of your cell
check_quarters(lambda gain, order: gain["no such user"])


# %% leave 2.5 % on each side
def bootstrap(values, replace=True, ends=(2.5, 97.5)):
    rng = np.random.default_rng(2)
    means = [rng.choice(values, len(values), replace=replace).mean() for _ in range(2000)]
    return np.percentile(means, ends)


check_bootstrap(lambda values: bootstrap(values, ends=(5, 95)))
# %% too wide
check_bootstrap(lambda values: bootstrap(values, ends=(0.1, 99.9)))
# %% np.quantile 0.025, 0.975
check_bootstrap(lambda values: bootstrap(values, ends=(0.025, 0.975)))
# %% this is a formula
check_bootstrap(lambda values: values.mean() + np.array([-1.96, 1.96]) * standard_error)
# %% *with* replacement
check_bootstrap(lambda values: bootstrap(values, replace=False))
# %% where *users* lie
check_bootstrap(lambda values: np.percentile(values, [2.5, 97.5]))
# %% the lower end comes first
check_bootstrap(lambda values: bootstrap(values)[::-1])
# %% give back two numbers
check_bootstrap(lambda values: values.mean())
# %% `interval` says
check_bootstrap(lambda values: bootstrap(values) + 0.5 * standard_error)
