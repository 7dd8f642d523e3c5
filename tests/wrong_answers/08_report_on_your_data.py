# %% do ratings below
check_strict(evaluate_ranking(models, test, candidates, liked=data.ratings["rating"].min()))
# %% measure both `models`
check_strict(evaluate_ranking({"text": with_text}, test, candidates, liked=data.ratings["rating"].max()))
# %% give the whole table
check_strict(0.2)
# %% just as it comes
check_strict(ranked.reset_index())
# %% just as it comes
check_strict(ranked.groupby("model").mean())


# %% are `test` and `candidates` those of section 5
check_strict(evaluate_ranking(models, test, data.items.index, liked=data.ratings["rating"].max()))
# %% the first is no plan
check_bought(data, 0.5)
# %% this plan still knows ratings
check_bought(planned, 0.5)


# %% the ratings of the new log, all 1
class Bought:
    rated = False


check_bought(Bought, 1.0)
# %% the share of rows that were liked
check_bought(Bought, (data.ratings["rating"] >= planned.liked).mean())
# %% still count as liked: only what is below does not
check_bought(Bought, (data.ratings["rating"] <= planned.liked).mean())
# %% the second is a share
check_bought(Bought, "46 %")
# %% the second is a share
check_bought(Bought, (data.ratings["rating"] < planned.liked).sum())
# %% each item still has its own vector
check_wrong_texts(lambda embeddings: embeddings.sample(frac=1, random_state=0))
# %% each row must stay whole
check_wrong_texts(
    lambda embeddings: pd.DataFrame(
        np.random.default_rng(0).permuted(embeddings.to_numpy(), axis=0), embeddings.index
    )
)
# %% each row must stay whole
check_wrong_texts(lambda embeddings: pd.DataFrame(embeddings.to_numpy()[:, ::-1], embeddings.index))
# %% and come once
check_wrong_texts(lambda embeddings: embeddings.sample(frac=1, replace=True).set_axis(embeddings.index))
# %% draw the order at random
check_wrong_texts(lambda embeddings: pd.DataFrame(np.roll(embeddings, 1, axis=0), embeddings.index))
# %% give back a table with the same labels
check_wrong_texts(lambda embeddings: np.random.default_rng(0).permutation(embeddings.to_numpy()))
# %% the labels must be those that came in
check_wrong_texts(lambda embeddings: pd.DataFrame(embeddings.to_numpy()[::-1]))
# %% nothing was corrected
check_corrected(lambda p: p)
# %% Bonferroni's correction
check_corrected(lambda p: (p * len(p)).clip(upper=1))
# %% bring them back into the order
check_corrected(lambda p: np.sort(stats.false_discovery_control(p)))
# %% carry the smallest along
check_corrected(lambda p: p * len(p) / p.rank())
# %% bring them back into the order
check_corrected(lambda p: np.sort(stats.false_discovery_control(p))[::-1])
# %% it must come from the end
check_corrected(lambda p: (p.sort_values() * len(p) / np.arange(1, len(p) + 1)).cummin().loc[p.index])
# %% what is m here
check_corrected(lambda p: stats.false_discovery_control(p) * 4 / len(p))
# %% gives nothing back
check_corrected(lambda p: None)
# %% should become
check_corrected(lambda p: p * len(p) / p.rank(ascending=False))
