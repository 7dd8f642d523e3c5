# %% `smoothing` changes nothing
check_smoothing(lambda smoothing: mean_ndcg(markov(early["train"]), early))
# %% settings are chosen in `early`
check_smoothing(lambda smoothing: mean_ndcg(markov(early["train"], smoothing), late))
# %% this learns from what it is tested on
check_smoothing(lambda smoothing: mean_ndcg(markov(late["train"], smoothing), early))
# %% learn from early['train']
check_smoothing(lambda smoothing: 1 / smoothing)


# %% the past is hidden
def backwards(fit):
    weights = np.exp(np.triu(fit)) * np.triu(np.ones_like(fit))
    return weights / weights.sum(axis=1, keepdims=True)


check_causal(backwards)


# %% the future is not hidden
def everything(fit):
    return np.exp(fit) / np.exp(fit).sum(axis=1, keepdims=True)


check_causal(everything)


# %% hide the future before you divide
def hidden_too_late(fit):
    return np.tril(everything(fit))


check_causal(hidden_too_late)


# %% each place may take from itself
def not_itself(fit):
    weights = np.exp(fit) * np.tri(len(fit), k=-1)
    return weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)


check_causal(not_itself)


# %% divide the rows
def by_column(fit):
    weights = np.exp(fit) * np.tri(len(fit))
    return weights / weights.sum(axis=0)


check_causal(by_column)
# %% not those of the exponential
check_causal(lambda fit: np.tri(len(fit)) / np.tri(len(fit)).sum(axis=1, keepdims=True))


# %% exactly `distance` apart
def exactly(histories, n, distance):
    table = np.zeros((n, n))
    for history in histories:
        np.add.at(table, (history[:-distance], history[distance:]), 1)
    return table


check_within(exactly)
# %% `distance` changes nothing
check_within(lambda histories, n, distance: exactly(histories, n, 1))
# %% rows are what came first
check_within(lambda histories, n, distance: exactly(histories, n, 1).T)
# %% two people are no pair
check_within(lambda histories, n, distance: exactly([np.concatenate(histories)], n, 1))
# %% gives nothing back
check_within(lambda histories, n, distance: None)


# %% turn the sign
def share(log, hide, sign):
    hidden = log.groupby("user_id").tail(1) if hide == "last" else log.groupby("user_id").head(1)
    train = log.drop(hidden.index)["timestamp"].to_numpy()
    return np.mean([(sign * train > sign * moment).mean() for moment in hidden["timestamp"]])


check_later(lambda log: share(log, "last", -1))
# %% hide the last
check_later(lambda log: share(log, "first", 1))
# %% still in the training
check_later(
    lambda log: np.mean([(log["timestamp"] > m).mean() for m in log.groupby("user_id").tail(1)["timestamp"]])
)
# %% then their mean
check_later(lambda log: 0.123)
