# %% `view` changes nothing
check_view(lambda view: shop_ndcg(actions(0.3, 0.3), "choose", L2).mean())
# %% view and cart have changed places
check_view(lambda view: shop_ndcg(actions(0.3, view), "choose", L2).mean())
# %% the test projects choose nothing
check_view(lambda view: shop_ndcg(actions(view, 0.3), "test", L2).mean())
# %% the mean over the projects
check_view(lambda view: shop_ndcg(actions(view, 0.3), "choose", L2))
# %% square the sum above
check_effective(lambda weight: weight.sum() / (weight**2).sum())
# %% above and below have changed places
check_effective(lambda weight: (weight**2).sum() / weight.sum() ** 2)
# %% take sums, not means
check_effective(lambda weight: weight.mean() ** 2 / (weight**2).mean())
# %% the sum of the squares is not the square of the sum
check_effective(lambda weight: weight.sum() ** 2 / weight.sum() ** 2)
# %% gives nothing back
check_effective(lambda weight: None)


# %% this is the mean rank
def rank(scores, right):
    return (scores >= (scores * right).sum(axis=1, keepdims=True)).sum(axis=1)


check_rank(lambda scores, right: rank(scores, right).mean())
# %% first 1 over each rank
check_rank(lambda scores, right: 1 / rank(scores, right).mean())
# %% high scores come first
check_rank(lambda scores, right: (1 / rank(-scores, right)).mean())
# %% the mean over the queries
check_rank(lambda scores, right: 1 / rank(scores, right))
# %% count the documents at least as good
check_rank(lambda scores, right: 0.4321)
