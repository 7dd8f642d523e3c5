# %% give the fitted `TokenSVD` itself
check_two(ladder["7 with audience as well", "full text"])
# %% the model has not learned yet
check_two(TokenSVD(full, n_audience=N_AUDIENCE, **{**settings, "n_factors": 2}))
# %% it has learned from the held-out ratings too
check_two(TokenSVD(full, n_audience=N_AUDIENCE, **{**settings, "n_factors": 2}).fit(data.ratings))
# %% ratings; there are
check_two(TokenSVD(full, n_audience=N_AUDIENCE, **{**settings, "n_factors": 2}).fit(train[::2]))
# %% factors, not 2
check_two(svd)
# %% it lacks the audience of rung 7
check_two(TokenSVD(full, n_audience=0, **{**settings, "n_factors": 2}).fit(train))
# %% it should read the full text
random = embeddings["random vectors"]
check_two(TokenSVD(random, n_audience=N_AUDIENCE, **{**settings, "n_factors": 2}).fit(train))
# %% more than the number of factors differs from `svd`
check_two(TokenSVD(full, n_audience=N_AUDIENCE, **{**settings, "n_factors": 2, "n_epochs": 1}).fit(train))
# %% more than the number of factors differs from `svd`
side = {"genre": kinds}
check_two(TokenSVD(full, n_audience=N_AUDIENCE, side=side, **{**settings, "n_factors": 2}).fit(train))
# %% `settings` itself has changed
settings["n_factors"] = 2
check_two(TokenSVD(full, n_audience=N_AUDIENCE, **settings).fit(train))
# %% has `settings` been changed?
check_with_kinds(
    lambda name: TokenSVD(embeddings[name], n_audience=N_AUDIENCE, side=side, **settings).fit(train)
)
# %% gives nothing back
settings["n_factors"] = N_FACTORS
check_with_kinds(lambda name: None)
# %% 0 side blocks, not 1
check_with_kinds(lambda name: reading[name])
# %% asked for random vectors, it reads other vectors
side_of_full = TokenSVD(full, n_audience=N_AUDIENCE, side={"genre": kinds}, **settings).fit(train)
check_with_kinds(lambda name: side_of_full)


# %% it lacks the audience of rung 7
def with_kinds(name):
    return TokenSVD(embeddings[name], n_audience=0, side={"genre": kinds}, **settings).fit(train)


check_with_kinds(with_kinds)


# %% its side block is 1 wide
def with_kinds(name):
    side = {"genre": kinds.sum(axis=1).to_frame()}
    return TokenSVD(embeddings[name], n_audience=N_AUDIENCE, side=side, **settings).fit(train)


check_with_kinds(with_kinds)


# %% it has 2 factors
def with_kinds(name):
    few = {**settings, "n_factors": 2}
    return TokenSVD(embeddings[name], n_audience=N_AUDIENCE, side={"genre": kinds}, **few).fit(train)


check_with_kinds(with_kinds)


# %% side blocks, not 1
def with_kinds(name):
    side = {kind: kinds[[kind]] for kind in kinds}
    return TokenSVD(embeddings[name], n_audience=N_AUDIENCE, side=side, **settings).fit(train)


check_with_kinds(with_kinds)


# %% and not `kinds`, indexed by item_id
def with_kinds(name):
    side = {"genre": kinds.reset_index(drop=True)}
    return TokenSVD(embeddings[name], n_audience=N_AUDIENCE, side=side, **settings).fit(train)


check_with_kinds(with_kinds)


# %% the model has not learned yet
def with_kinds(name):
    return TokenSVD(embeddings[name], n_audience=N_AUDIENCE, side={"genre": kinds}, **settings)


check_with_kinds(with_kinds)


# %% it should learn from `train`, and from nothing else
def with_kinds(name):
    return TokenSVD(embeddings[name], n_audience=N_AUDIENCE, side={"genre": kinds}, **settings).fit(
        data.ratings
    )


check_with_kinds(with_kinds)
# %% this still pulls towards zero
check_ridge_to(lambda Z, y, prior: ridge(Z, y))
# %% it has to count `RIDGE` times
check_ridge_to(lambda Z, y, prior: np.linalg.solve(Z.T @ Z + RIDGE * np.eye(Z.shape[1]), Z.T @ y + prior))
# %% this is how far the answer is from the prior
check_ridge_to(lambda Z, y, prior: ridge(Z, y - Z @ prior))
# %% the prior is added at the end
check_ridge_to(lambda Z, y, prior: prior + ridge(Z, y))
# %% pulls away from the prior
check_ridge_to(lambda Z, y, prior: ridge(Z, y + Z @ prior) - prior)
# %% with no rating, the answer must be the prior
check_ridge_to(lambda Z, y, prior: (prior + ridge(Z, y)) / 2)
# %% with ratings it is not
check_ridge_to(lambda Z, y, prior: prior)
# %% not the shape ()
check_ridge_to(lambda Z, y, prior: ridge(Z, y)[0])
# %% write it without `svd.fold_in`
check_fold_in(lambda ratings: svd.fold_in(ratings))
# %% is the bias missing
check_fold_in(lambda ratings: solve(ratings, 1.0)[1:])
# %% numbers, not (
check_fold_in(lambda ratings: svd.score(ratings))
# %% another equation
right_answers = {len(ratings): svd.fold_in(ratings) for ratings in (mine, own)}
check_fold_in(lambda ratings: np.roll(right_answers[len(ratings)], -1))
# %% solve again with the new one
check_fold_in(lambda ratings: solve(ratings, 1.0))
# %% is the sum of `A * C` in the error
check_fold_in(lambda ratings: solve(ratings, 0.6))


# %% the pull is towards zero
def fold_in(ratings):
    A, right, squares = equations(ratings)
    pull, trust = np.diag(svd._user_precision), 1.0
    for _ in range(5):
        C = np.linalg.inv(pull + trust * A)
        x = C @ (trust * right)
        error = squares - 2 * x @ right + x @ A @ x + (A * C).sum()
        trust = (50 + len(ratings)) / (50 + error)
    return x


check_fold_in(fold_in)


# %% another equation
def fold_in(ratings):
    A, right, squares = equations(ratings)
    pull, trust = np.diag(svd._user_precision), 1.0
    for _ in range(5):
        C = np.linalg.inv(pull + trust * A)
        x = C @ (pull @ prior_of(ratings) + right)
        error = squares - 2 * x @ right + x @ A @ x + (A * C).sum()
        trust = (50 + len(ratings)) / (50 + error)
    return x


check_fold_in(fold_in)


# %% another equation
def fold_in(ratings):
    A, right, squares = equations(ratings)
    pull, trust = np.diag(svd._user_precision), 1.0
    for _ in range(5):
        C = np.linalg.inv(pull + trust * A)
        x = C @ (prior_of(ratings) + trust * right)
        error = squares - 2 * x @ right + x @ A @ x + (A * C).sum()
        trust = (50 + len(ratings)) / (50 + error)
    return x


check_fold_in(fold_in)


# %% upside down
def fold_in(ratings):
    A, right, squares = equations(ratings)
    trust = 1.0
    for _ in range(5):
        x = solve(ratings, trust)
        C = np.linalg.inv(np.diag(svd._user_precision) + trust * A)
        error = squares - 2 * x @ right + x @ A @ x + (A * C).sum()
        trust = (50 + error) / (50 + len(ratings))
    return x


check_fold_in(fold_in)


# %% are there five turns?
def fold_in(ratings):
    A, right, squares = equations(ratings)
    trust = 1.0
    for _ in range(2):
        x = solve(ratings, trust)
        C = np.linalg.inv(np.diag(svd._user_precision) + trust * A)
        error = squares - 2 * x @ right + x @ A @ x + (A * C).sum()
        trust = (50 + len(ratings)) / (50 + error)
    return x


check_fold_in(fold_in)


# %% is the sum of `A * C` in the error
def fold_in(ratings):
    A, right, squares = equations(ratings)
    trust = 1.0
    for _ in range(5):
        x = solve(ratings, trust)
        error = squares - 2 * x @ right + x @ A @ x
        trust = (50 + len(ratings)) / (50 + error)
    return x


check_fold_in(fold_in)


# %% is `pull` diagonal
def fold_in(ratings):
    A, right, squares = equations(ratings)
    trust = 1.0
    for _ in range(5):
        x = solve(ratings, trust)
        C = np.linalg.inv(svd._user_precision + trust * A)
        error = squares - 2 * x @ right + x @ A @ x + (A * C).sum()
        trust = (50 + len(ratings)) / (50 + error)
    return x


check_fold_in(fold_in)


# %% in line 2 of your cell
def fold_in(ratings):
    return solve(ratings.index, 1.0)


check_fold_in(fold_in)
