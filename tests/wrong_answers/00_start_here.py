# %% 5 was half way when the prior weighed 5
check_half_way(5)
# %% nearer to the prior
check_half_way(10)
# %% nearer to the evidence
check_half_way(100)
# %% without quotes
check_half_way("20")
# %% fewer than 0
check_half_way(-20)


# %% all pairs, of any year
def mean_cosine(template, choose):
    texts = data.with_text(template).items["text"][films.index]
    pairs = cosine_similarity(maker.fit_transform(encoder.transform(texts)))
    one, other = np.triu_indices(len(films), k=1)
    year = films["year"].to_numpy()
    return pairs[one, other][choose(year[one], year[other])].mean()


check_same_year(lambda template: mean_cosine(template, lambda one, other: one > 0))
# %% the other pairs
check_same_year(lambda template: mean_cosine(template, lambda one, other: one != other))


# %% is a film paired with itself
def with_itself(template):
    texts = data.with_text(template).items["text"][films.index]
    year = films["year"].to_numpy()
    return cosine_similarity(maker.fit_transform(encoder.transform(texts)))[year[:, None] == year].mean()


check_same_year(with_itself)


# %% make tokens of them
def of_embeddings(template):
    one, other = np.triu_indices(len(films), k=1)
    year = films["year"].to_numpy()
    pairs = cosine_similarity(encoder.transform(data.with_text(template).items["text"][films.index]))
    return pairs[one, other][year[one] == year[other]].mean()


check_same_year(of_embeddings)
# %% are the texts made with `template`
check_same_year(lambda template: 0.99)
# %% is not right for the template '{title}. {genres}
check_same_year(
    lambda template: mean_cosine(template, lambda one, other: one == other) + ("year" not in template)
)
# %% one number
check_same_year(lambda template: np.zeros(3))
# %% the accuracy
check_scores(lambda said, true: ((said == true).mean(), 0.5, 0.5))
# %% changed places
check_scores(lambda said, true: [*precision_recall_fscore_support(said, true, average="binary")[:2], 0.5])
# %% not percent
check_scores(
    lambda said, true: 100 * np.array(precision_recall_fscore_support(true, said, average="binary")[:3])
)
# %% F1 is 0.333
check_scores(lambda said, true: (0.25, 0.5, 0.375))
# %% give back three numbers
check_scores(lambda said, true: {"precision": 0.25, "recall": 0.5, "F1": 0.333})
# %% give back three numbers
check_scores(lambda said, true: 0.5)
# %% gives nothing back
check_scores(lambda said, true: None)
# %% divide by the length
check_token_of(lambda stars: (stars - stars.mean()).to_numpy() @ tokens_of.loc[stars.index].to_numpy())
# %% divide by the length
check_token_of(
    lambda stars: (lambda sums: sums / sums.sum())(
        tokens_of.loc[stars.index].mul(stars - stars.mean(), axis=0).sum()
    )
)
# %% check the weights
check_token_of(lambda stars: tokens_of.loc[stars.index[0]])
# %% all 0, or missing
check_token_of(lambda stars: tokens_of.loc[stars.index].mul(stars, axis=0).sum() * np.nan)
# %% subtract the person's mean
check_token_of(lambda stars: stars.to_numpy() @ tokens_of.loc[stars.index].to_numpy())
# %% KeyError in line 1 of your cell
check_token_of(lambda stars: tokens_of["no such column"])
