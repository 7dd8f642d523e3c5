# %% 5 was half way when the prior weighed 5
check_half_way(5)
# %% nearer to the prior
check_half_way(10)
# %% nearer to the evidence
check_half_way(100)


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
check_same_year(lambda template: 0.99)
# %% one number
check_same_year(lambda template: np.zeros(3))
# %% the accuracy
check_scores(lambda said, true: ((said == true).mean(), 0.5, 0.5))
# %% changed places
check_scores(lambda said, true: [*precision_recall_fscore_support(said, true, average="binary")[:2], 0.5])
# %% give back three numbers
check_scores(lambda said, true: 0.5)
# %% gives nothing back
check_scores(lambda said, true: None)
# %% divide by the length
check_token_of(lambda stars: (stars - stars.mean()).to_numpy() @ tokens_of.loc[stars.index].to_numpy())
# %% subtract the person's mean
check_token_of(lambda stars: stars.to_numpy() @ tokens_of.loc[stars.index].to_numpy())
# %% KeyError in line 1 of your cell
check_token_of(lambda stars: tokens_of["no such column"])
