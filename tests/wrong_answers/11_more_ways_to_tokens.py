# %% this is the cosine
def projected(length):
    d, read = drawn["films"], sources["films"]["embedding"]
    way = random_projection.GaussianRandomProjection(length, random_state=RANDOM_STATE)
    return way.fit(read[d["old"]]).transform(read), d


def by_head(length):
    vectors, d = projected(length)
    return ndcg(by_cosine(finish(vectors, d["old"]), d), d["hits"]).mean()


check_random(by_head)


# %% the mean is still in
def uncentred(length):
    vectors, d = projected(length)
    return ndcg(by_ridge(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), d), d["hits"]).mean()


check_random(uncentred)


# %% the mean over the users
def each_user(length):
    vectors, d = projected(length)
    return ndcg(by_ridge(finish(vectors, d["old"]), d), d["hits"])


check_random(each_user)
# %% `length` changes nothing
check_random(lambda length: 0.1)
# %% is it RANDOM_STATE
check_random(lambda length: 0.999 - length / 1000)
# %% np.packbits puts eight bits into a byte
check_bytes(lambda tokens: tokens > 0)
# %% one long row of bytes
check_bytes(lambda tokens: np.packbits(tokens > 0))
# %% packed down the columns
check_bytes(lambda tokens: np.packbits(tokens > 0, axis=0))
# %% 0 and 1 have changed places
check_bytes(lambda tokens: np.packbits(tokens <= 0, axis=1))
# %% are enough
check_bytes(lambda tokens: (tokens > 0).astype("uint8"))
# %% compare each number with 0
check_bytes(lambda tokens: np.packbits(tokens > 0.1, axis=1))
# %% gives nothing back
check_bytes(lambda tokens: None)
# %% all levels are in
check_rebuild(lambda codes, books, n: sum(book[codes[:, i]] for i, book in enumerate(books)))
# %% this is the last level alone
check_rebuild(lambda codes, books, n: books[n - 1][codes[:, n - 1]])
# %% not averaged
check_rebuild(lambda codes, books, n: sum(books[i][codes[:, i]] for i in range(n)) / n)
# %% level 1 corrects level 0
check_rebuild(lambda codes, books, n: books[0][codes[:, 0]])
# %% a row for each item is needed
check_rebuild(lambda codes, books, n: np.hstack([books[i][codes[:, i]] for i in range(n)]))
# %% look level i up
check_rebuild(lambda codes, books, n: sum(books[0][codes[:, i]] for i in range(n)) * 2)
# %% this counts what the second block knows as well
check_only(lambda first, second, tokens: explained(first, tokens))
# %% the two have changed places
check_only(
    lambda first, second, tokens: explained(np.hstack([first, second]), tokens) - explained(first, tokens)
)
# %% this is what both know together
check_only(lambda first, second, tokens: explained(np.hstack([first, second]), tokens))
# %% taken away twice
check_only(lambda first, second, tokens: explained(first, tokens) - explained(second, tokens))
# %% side by side with np.hstack
check_only(lambda first, second, tokens: 0.0)
