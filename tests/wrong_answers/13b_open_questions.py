# %% epsilons do not add up
check_budget(lambda sigma, budget: int(budget / epsilon(sigma)))
# %% one too many
check_budget(lambda sigma, budget: next(n for n in range(10**6) if epsilon(sigma, n) > budget))
# %% a whole number
check_budget(lambda sigma, budget: budget / 2.7)
# %% not 0
check_budget(lambda sigma, budget: 0)
# %% not their sum
check_parts(lambda known, weights, target: known @ weights[:, target])
# %% what is not known adds nothing
check_parts(lambda known, weights, target: weights[:, target])
# %% that is the row
check_parts(lambda known, weights, target: known * weights[target])
# %% multiply each entry
check_parts(lambda known, weights, target: known + weights[:, target])
# %% one number for each row
check_odd(lambda x, weights: -((x @ weights) * x))
# %% turn the sign round
check_odd(lambda x, weights: ((x @ weights) * x).sum(axis=1) / x.sum(axis=1))
# %% divide by the number
check_odd(lambda x, weights: -((x @ weights) * x).sum(axis=1))
# %% own packages only
check_odd(lambda x, weights: -(x @ weights).sum(axis=1))
