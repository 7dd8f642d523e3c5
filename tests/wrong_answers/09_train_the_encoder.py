# %% this is the cosine
def by_the_cosine(n):
    d = drawn["films"]
    return measure(with_map("films", d, d["x"][:n], d["known"]), d)["cosine"]


check_users(by_the_cosine)


# %% give back one number
def both_heads(n):
    d = drawn["films"]
    return measure(with_map("films", d, d["x"][:n], d["known"]), d)


check_users(both_heads)


# %% these are the last users
def from_the_end(n):
    d = drawn["films"]
    return measure(with_map("films", d, d["x"][-n:], d["known"]), d)["ridge"]


check_users(from_the_end)


# %% the shuffled control
def at_random(n):
    d = drawn["films"]
    return measure(with_map("films", d, d["x"][:n], d["known"], shuffled=True), d)["ridge"]


check_users(at_random)
# %% `n_users` changes nothing
check_users(lambda n: 0.1)
# %% is right: the known items
check_users(lambda n: 0.9 + n / 1000)
# %% gives nothing back
check_users(lambda n: None)


# %% the sign
def rows_of(first, second):
    return (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (first, second))


def without_minus(first, second, scale):
    first, second = rows_of(first, second)
    return np.diag(special.log_softmax(scale * first @ second.T, axis=1)).mean()


check_loss(without_minus)


# %% take the mean
def summed(first, second, scale):
    first, second = rows_of(first, second)
    return -np.diag(special.log_softmax(scale * first @ second.T, axis=1)).sum()


check_loss(summed)
# %% scale each vector to length 1
check_loss(lambda a, b, scale: -np.diag(special.log_softmax(scale * a @ b.T, axis=1)).mean())


# %% `scale` is not used
def unscaled(first, second, scale):
    first, second = rows_of(first, second)
    return -np.diag(special.log_softmax(first @ second.T, axis=1)).mean()


check_loss(unscaled)


# %% each *row* must add up to 1
def by_columns(first, second, scale):
    first, second = rows_of(first, second)
    return -np.diag(special.log_softmax(scale * first @ second.T, axis=0)).mean()


check_loss(by_columns)


# %% take the diagonal
def everything(first, second, scale):
    first, second = rows_of(first, second)
    return -special.log_softmax(scale * first @ second.T, axis=1).mean()


check_loss(everything)
# %% give their share
check_leak(lambda pairs, hidden: np.isin(pairs, hidden).any(axis=1).sum())
# %% in the second place too
check_leak(lambda pairs, hidden: np.isin(pairs[:, 0], hidden).mean())
# %% in the first place too
check_leak(lambda pairs, hidden: np.isin(pairs[:, 1], hidden).mean())
# %% any, not all
check_leak(lambda pairs, hidden: np.isin(pairs, hidden).all(axis=1).mean())
# %% count a pair once
check_leak(lambda pairs, hidden: np.isin(pairs, hidden).mean())
# %% of the clean pairs
check_leak(lambda pairs, hidden: (~np.isin(pairs, hidden)).all(axis=1).mean())
# %% where 0.44 is right
check_leak(lambda pairs, hidden: 0.0)


# %% the right partners
def together(batch, x):
    return (x[:, batch[:, 0]].T @ x[:, batch[:, 1]]).toarray()


check_negatives(lambda batch, x: (together(batch, x) > 0).mean())


# %% still counted
def off_diagonal(batch, x):
    both = together(batch, x)
    np.fill_diagonal(both, 0)
    return both


check_negatives(lambda batch, x: (off_diagonal(batch, x) > 0).mean())
# %% this counts users
check_negatives(lambda batch, x: off_diagonal(batch, x).sum() / 6)
# %% this is how many
check_negatives(lambda batch, x: (off_diagonal(batch, x) > 0).sum())
# %% the good negatives
check_negatives(lambda batch, x: 1 - (off_diagonal(batch, x) > 0).sum() / 6)
# %% on a small table
check_negatives(lambda batch, x: 0.123)
