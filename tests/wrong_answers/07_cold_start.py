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
# %% the same films
check_carried_from(lambda least: 0.999)
# %% one number from 0 to 1
check_carried_from(lambda least: np.nan)
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


# %% side by side
check_shuffled(lambda embeddings: pd.DataFrame(np.roll(embeddings.to_numpy(), 1, axis=0), embeddings.index))
# %% side by side
check_shuffled(lambda embeddings: embeddings[::-1].set_axis(embeddings.index))
# %% every row has to be there once
check_shuffled(
    lambda embeddings: embeddings.sample(frac=1, replace=True, random_state=0).set_axis(embeddings.index)
)


# %% as a whole
def each_column_alone(embeddings):
    numbers = np.random.default_rng(0).permuted(embeddings.to_numpy(), axis=0)
    return pd.DataFrame(numbers, embeddings.index)


check_shuffled(each_column_alone)
# %% a DataFrame
check_shuffled(lambda embeddings: embeddings.to_numpy()[::-1])
# %% of the same shape
check_shuffled(lambda embeddings: embeddings.head(3))


# %% divide each row by its own spread
def even(scores, axis):
    return (scores - scores.mean(axis, keepdims=True)) / scores.std(axis, keepdims=True)


check_mixed(lambda one, other: one + other)
# %% divide each row by its own spread
check_mixed(lambda one, other: one - one.mean(axis=1, keepdims=True) + other)
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
# %% straight over log(1 + n)
check_saved(lambda table, n: np.interp(table.loc[n, "both"], table["own data alone"], table.index) - n)
# %% straight over log(1 + n)
check_saved(
    lambda table, n: table.index[(table["own data alone"] > table.loc[n, "both"]).to_numpy().argmax()] - n
)
# %% takes the 1 away too
check_saved(lambda table, n: needed(table, n) + 1 - n)
# %% go back with np.expm1
check_saved(lambda table, n: np.log1p(needed(table, n)) - n)
# %% never get so far in the table of the check
check_saved(lambda table, n: np.nan_to_num(needed(table, n), nan=30) - n)
# %% KeyError in line 1 of your cell
check_saved(lambda table, n: table["no such column"])
