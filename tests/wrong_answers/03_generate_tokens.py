# %% this is the mean; the standard deviation
check_width(lambda k: cosine_of_random_pairs(make_tokens(k).fit_transform(embeddings)).mean())
# %% this is the variance
check_width(lambda k: cosine_of_random_pairs(make_tokens(k).fit_transform(embeddings)).var())
# %% these are the whole embeddings
check_width(lambda k: cosine_of_random_pairs(embeddings).std())
# %% give `k` to `make_tokens`
check_width(lambda k: cosine_of_random_pairs(tokens).std())
# %% one number, the spread of all pairs
check_width(lambda k: cosine_of_random_pairs(tokens))
# %% gives nothing back
check_width(lambda k: None)
# %% cosines of which tokens
check_width(lambda k: make_tokens(k).fit_transform(embeddings).to_numpy().std())
# %% these are still the tokens by PCA
check_whitened(lambda array: array / np.linalg.norm(array, axis=1, keepdims=True))
# %% still the tokens by PCA
check_whitened(lambda array: array / array.std())
# %% this is the variance
check_whitened(lambda array: array / array.var(axis=0))
# %% each row must have length 1
check_whitened(lambda array: array / array.std(axis=0))


# %% begin with the columns
def unit(array):
    return array / np.linalg.norm(array, axis=1, keepdims=True)


check_whitened(lambda array: unit(array + 1))
# %% begin with the columns
check_whitened(lambda array: unit(unit(array) / unit(array).std(axis=0)))
# %% the shape should stay
check_whitened(lambda array: array[:, :2])
# %% a share: count the neighbours
check_in_common(lambda a, b: (ten_nearest(a)[:, :, None] == ten_nearest(b)[:, None]).any(axis=2).mean())
# %% go film by film, and take the mean
check_in_common(lambda a, b: len(np.intersect1d(ten_nearest(a), ten_nearest(b))))
# %% the order should not count
check_in_common(lambda a, b: (ten_nearest(a) == ten_nearest(b)).sum(axis=1).mean())
# %% one number, the mean
check_in_common(lambda a, b: (ten_nearest(a) == ten_nearest(b)).sum(axis=1))
# %% compare `a` with `b`, one film
check_in_common(
    lambda a, b: (ten_nearest(a)[:, :, None] == ten_nearest(tokens)[:, None]).sum(axis=(1, 2)).mean()
)
# %% must give 10, not
check_in_common(lambda a, b: 0.5)


# %% drawn by popularity they have
def from_catalogue(pairs):
    return implicit.copy()


check_harder(from_catalogue)
# %% leave those out
check_harder(
    lambda pairs: pairs.assign(worse=np.random.default_rng(0).choice(ratings["item_id"], len(pairs)))
)
# %% not one for all
check_harder(lambda pairs: pairs.assign(worse=known[0]))
# %% the columns user_id, item_id and worse
check_harder(lambda pairs: pairs)
# %% `worse` has gaps
check_harder(lambda pairs: pairs.assign(worse=ratings["item_id"].sample(len(pairs), random_state=0)))


# %% the columns user_id, item_id and worse
def by_popularity(pairs):
    drawn = pairs.assign(worse=np.random.default_rng(0).choice(ratings["item_id"], len(pairs)))
    return drawn[[pair not in rated for pair in zip(drawn["user_id"], drawn["worse"], strict=True)]]


check_harder(lambda pairs: by_popularity(pairs)[["user_id", "worse"]])
# %% only
check_harder(lambda pairs: by_popularity(pairs.head(len(pairs) // 4)))
# %% keep each `item_id`
check_harder(lambda pairs: by_popularity(pairs).assign(item_id=lambda t: np.roll(t["item_id"], len(t) // 2)))
# %% KeyError
check_harder(lambda pairs: pairs["no such column"])
