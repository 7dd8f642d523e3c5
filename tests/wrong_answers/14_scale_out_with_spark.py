# %% each has 8 bytes
check_bytes(lambda n: 2 * (1 + n) + 1)
# %% the whole triangle, as it is sent now
check_bytes(lambda n: row_bytes(1 + n))
# %% the bias is one more number
check_bytes(lambda n: 8 * (2 * n + 1))
# %% trust is one more number
check_bytes(lambda n: 8 * 2 * (1 + n))
# %% with no factor at all it should be 24
check_bytes(lambda n: 80)
# %% wrong for 20
check_bytes(lambda n: 8 * 23)
# %% gives nothing back
check_bytes(lambda n: None)
# %% forgets the sizes of the parts
check_variance(lambda p: (p["squares"] / p["count"] - (p["sum"] / p["count"]) ** 2).mean())
# %% then there is one number
check_variance(lambda p: p["squares"] / p["count"] - (p["sum"] / p["count"]) ** 2)
# %% subtract the square of the mean
check_variance(lambda p: p["squares"].sum() / p["count"].sum())
# %% this is its root
check_variance(
    lambda p: (p["squares"].sum() / p["count"].sum() - (p["sum"].sum() / p["count"].sum()) ** 2) ** 0.5
)
# %% mean of the squares, less the square of the mean
check_variance(lambda p: p["squares"].sum())
# %% give back a Series
check_merge(lambda lists, k: pd.concat(lists).nlargest(k).index)
# %% items, where 5 were asked for
check_merge(lambda lists, k: pd.concat(lists))
# %% compare the items of all parts
check_merge(lambda lists, k: lists[0].nlargest(k))
# %% now the best one first
check_merge(lambda lists, k: pd.concat(lists).nlargest(k).iloc[::-1])
# %% compare the items of all parts
check_merge(lambda lists, k: pd.concat(lists).nsmallest(k))
