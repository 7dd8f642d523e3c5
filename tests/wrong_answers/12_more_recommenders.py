# %% these are the films
check_neighbours(lambda k: ndcg(user_neighbours(asked["films"], k, 0), asked["films"]).mean())
# %% this has shrinkage
check_neighbours(lambda k: ndcg(user_neighbours(asked["packages"], k, 100), asked["packages"]).mean())
# %% these are item neighbours
check_neighbours(lambda k: ndcg(item_neighbours(asked["packages"], k, 0), asked["packages"]).mean())
# %% `k` changes nothing
check_neighbours(lambda k: 0.1)
# %% the mean over the users
check_neighbours(lambda k: ndcg(user_neighbours(asked["packages"], k, 0), asked["packages"]))
# %% is right
check_neighbours(lambda k: 1 / k)
# %% each pair is counted twice
check_pairs(lambda x, v: ((x @ v) ** 2 - x**2 @ v**2).sum(axis=1))
# %% each column is paired with itself
check_pairs(lambda x, v: 0.5 * ((x @ v) ** 2).sum(axis=1))
# %% half of the squares is left
check_pairs(lambda x, v: (0.5 * (x @ v) ** 2 + 0.5 * x**2 @ v**2).sum(axis=1))
# %% the sign is turned
check_pairs(lambda x, v: 0.5 * (x**2 @ v**2 - (x @ v) ** 2).sum(axis=1))
# %% one number an example
check_pairs(lambda x, v: 0.5 * ((x @ v) ** 2 - x**2 @ v**2))
# %% gives nothing back
check_pairs(lambda x, v: None)
# %% add and subtract have changed places
check_corrected(lambda scores, counts, total: scores + np.log(counts / total))
# %% the *logarithm*
check_corrected(lambda scores, counts, total: scores - counts / total)
# %% to the column
check_corrected(lambda scores, counts, total: scores - np.log(counts / total)[:, None])
# %% divide by the total
check_corrected(lambda scores, counts, total: scores - np.log(counts))
# %% a table like the scores
check_corrected(lambda scores, counts, total: np.log(counts / total))
# %% the units are still in
check_mix(lambda one, other, share: one + share * other)


# %% the two have changed places
def standard(scores, axis=1):
    return (scores - scores.mean(axis=axis, keepdims=True)) / scores.std(axis=axis, keepdims=True)


check_mix(lambda one, other, share: share * standard(one) + standard(other))
# %% `share` changes nothing
check_mix(lambda one, other, share: standard(one) + standard(other))
# %% one mean for each row
check_mix(lambda one, other, share: standard(one, None) + share * standard(other, None))
