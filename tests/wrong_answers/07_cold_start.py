# %% these are all known films
def ease_from(least, complete=True):
    d = drawn["films"]
    enough = np.asarray(d["x"].sum(axis=0)).ravel() >= least
    x, a = d["x"][:, enough], carry(full["films"], {**d, "known": d["known"][enough]})
    rows = x[d["who"]].toarray()
    return ndcg((ease(x, EASE_L2["films"])(rows) if complete else rows) @ a, d["hits"]).mean()


check_carried_from(lambda least: ease_from(MIN_HITS))
# %% exactly `least` hits belongs in
check_carried_from(lambda least: ease_from(least + 1))
# %% this is the ridge
check_carried_from(lambda least: ease_from(least, complete=False))
# %% the same ones
check_carried_from(lambda least: 0.5)
# %% one number
check_carried_from(lambda least: drawn["films"]["hits"].mean(axis=0))


# %% the names have moved along with the rows
check_shuffled(lambda embeddings: embeddings.sample(frac=1, random_state=0))
# %% the index is lost
check_shuffled(
    lambda embeddings: embeddings.sample(frac=1, random_state=0).reset_index(drop=True).add_prefix("x")
)
# %% 100% of the films have their own text still
check_shuffled(lambda embeddings: embeddings.copy())


# %% the whole row of another film
def each_column_alone(embeddings):
    numbers = np.random.default_rng(0).permuted(embeddings.to_numpy(), axis=0)
    return pd.DataFrame(numbers, embeddings.index)


check_shuffled(each_column_alone)
# %% a table of the same shape
check_shuffled(lambda embeddings: embeddings.to_numpy()[::-1])


# %% added as they are
def even(scores, axis):
    return (scores - scores.mean(axis, keepdims=True)) / scores.std(axis, keepdims=True)


check_mixed(lambda one, other: one + other)
# %% not each user
check_mixed(lambda one, other: even(one, 0) + even(other, 0))
# %% one mean for the whole table
check_mixed(lambda one, other: even(one, None) + even(other, None))
# %% mean 0 and spread 1
check_mixed(lambda one, other: even(one, 1) * even(other, 1))
# %% scores of the shape
check_mixed(lambda one, other: one.mean(axis=1))
# %% gives nothing back
check_mixed(lambda one, other: None)


# %% subtract n
def needed(table, n, name="both"):
    return np.expm1(
        np.interp(table.loc[n, name], table["own data alone"], np.log1p(table.index), right=np.nan)
    )


check_saved(needed)
# %% not for that of the text alone
check_saved(lambda table, n: needed(table, n, "text alone") - n)
# %% it should be over log(1 + n)
check_saved(lambda table, n: np.interp(table.loc[n, "both"], table["own data alone"], table.index) - n)
# %% go back with np.expm1
check_saved(lambda table, n: np.log1p(needed(table, n)) - n)
# %% never get so far in the table of the check
check_saved(lambda table, n: np.nan_to_num(needed(table, n), nan=30) - n)
# %% KeyError in line 1 of your cell
check_saved(lambda table, n: table["no such column"])
