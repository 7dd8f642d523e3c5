# %% this is the median of all films
check_median_likes(lambda l2: np.median(X.sum(axis=0)))


# %% this is the mean
def lists_of(l2, users):
    model = Scored(X @ ease(X, l2), some_users, some_items, some)
    return top_lists({"m": model}, users, some_items, TOP_K)["item_id"].map(
        pd.Series(X.sum(axis=0), some_items)
    )


check_median_likes(lambda l2: lists_of(l2, some_users[:150]).mean())


# %% rated already
def with_seen(l2):
    places = np.argsort(-(X @ ease(X, l2))[:150], axis=1)[:, :TOP_K]
    return np.median(X.sum(axis=0)[places])


check_median_likes(with_seen)


# %% liked or not
def likes_hidden_only(l2):
    places = np.argsort(-np.where(X > 0, -np.inf, X @ ease(X, l2))[:150], axis=1)[:, :TOP_K]
    return np.median(X.sum(axis=0)[places])


check_median_likes(likes_hidden_only)


# %% does your function use its l2
check_median_likes(lambda l2: lists_of(L2_FILMS, some_users[:150]).median())
# %% is right
check_median_likes(lambda l2: lists_of(l2, some_users[:150]).median() + 1)
# %% give back one number
check_median_likes(lambda l2: lists_of(l2, some_users[:150]))
# %% speak most *for* it
check_against(pd.Series(B[:, column], some_items).nlargest(3).index, 0.3)
# %% this is the row
column = next(j for j in range(len(B)) if set(np.argsort(B[j])[:3]) != set(np.argsort(B[:, j])[:3]))
check_against(pd.Series(B[column], some_items).nsmallest(3).index, 0.3)
# %% places, where item_ids
check_against(np.argsort(B[:, column])[:3], 0.3)
# %% put the strongest first
check_against(pd.Series(B[:, column], some_items).nsmallest(3).index[::-1], 0.3)
# %% three item_ids are asked for
check_against(pd.Series(B[:, column], some_items).nsmallest(1).index, 0.3)
# %% in a Series they are the index
check_against(pd.Series(B[:, column], some_items).nsmallest(3), 0.3)
# %% one number: the mean over users
check_against(pd.Series(B[:, column], some_items).nsmallest(3).index, X @ np.maximum(B, 0))
# %% EASE with all its weights
check_against(pd.Series(B[:, column], some_items).nsmallest(3).index, ndcg(X @ B))
# %% the sign is lost
check_against(pd.Series(B[:, column], some_items).nsmallest(3).index, ndcg(X @ np.abs(B)))


# %% compares users
def cosines(table, zero=True):
    unit = table / np.linalg.norm(table, axis=0)
    found = unit.T @ unit
    if zero:
        np.fill_diagonal(found, 0)
    return found


check_cosine(lambda X: cosines(X.T))
# %% put 0 on the diagonal
check_cosine(lambda X: cosines(X, zero=False))
# %% divide by the lengths
check_cosine(lambda X: X.T @ X - np.diag(np.diag(X.T @ X)))
# %% the *root* of its sum of squares
check_cosine(lambda X: (X.T @ X - np.diag(X.sum(axis=0))) / np.outer(X.sum(axis=0), X.sum(axis=0)))
# %% take the mean off first
check_cosine(lambda X: np.corrcoef(X, rowvar=False) - np.eye(X.shape[1]))
# %% divide each column by its own length
check_cosine(lambda X: (X.T @ X - np.diag(X.sum(axis=0))) / X.sum())
# %% gives nothing back
check_cosine(lambda X: np.fill_diagonal(cosines(X), 0))


# %% liked test films are missing
def parts(user):
    trained, own = some[some["user_id"] == user], some_test[some_test["user_id"] == user]
    left = some_items.difference(trained["item_id"]).difference(own["item_id"])
    return trained, own, list(own.loc[own["rating"] >= LIKED, "item_id"]), left


check_candidates(lambda user, n_drawn: parts(user)[3][:n_drawn])
# %% training films of the user are there
check_candidates(lambda user, n_drawn: [*parts(user)[2], *some_items.difference(parts(user)[2])])


# %% rated in the test and not liked
def with_disliked(user, n_drawn):
    _, own, liked, left = parts(user)
    return [*liked, *[*own.loc[own["rating"] < LIKED, "item_id"], *left[5:]][:n_drawn]]


check_candidates(with_disliked)
# %% a film is there twice
check_candidates(lambda user, n_drawn: parts(user)[2] * 2)
# %% no chance draw
check_candidates(lambda user, n_drawn: [*parts(user)[2], *parts(user)[3][:n_drawn]])
# %% films, and 100 were asked for
check_candidates(lambda user, n_drawn: [*parts(user)[2], *parts(user)[3]])
# %% no chance draw
check_candidates(lambda user, n_drawn: [*parts(user)[2], *parts(user)[3][-n_drawn:]])
# %% not in some_items
check_candidates(lambda user, n_drawn: [*parts(user)[2], *[f"film {i}" for i in range(n_drawn)]])
# %% use the number
check_candidates(
    lambda user, n_drawn: [
        *parts(user)[2],
        *np.random.default_rng(RANDOM_STATE).choice(parts(user)[3], 100, replace=False),
    ]
)
