# %% the share of the texts that stay whole
check_cut((pieces_full <= 8).mean(), "genres")
# %% a text of exactly 8 pieces still fits
check_cut((pieces_full >= 8).mean(), "genres")
# %% these are the titles
check_cut((pieces_title > 8).mean(), "genres")
# %% in percent
check_cut(100 * (pieces_full > 8).mean(), "genres")
# %% one number for all texts
check_cut(pieces_full > 8, "genres")
# %% what is cut off stands at the end
check_cut((pieces_full > 8).mean(), "title")
# %% not the same word pieces
check_order("dog bites man", "man bites cat")
# %% not equally often
check_order("dog bites man", "man bites dog dog")
# %% the order is the same
check_order("dog bites man", "Dog bites man")
# %% to the encoder they are still nearly the same
check_order("the hunter kills the bear", "the bear kills the hunter")
# %% both answers are texts
check_order(["dog"], ["dog"])


# %% not its own twin
def highest(vectors, titles, floor=0, similarity=cosine_similarity):
    values = similarity(vectors.to_numpy()) - 9999 * np.triu(np.ones((len(vectors), len(vectors))), floor).T
    return [vectors.index[place] for place in np.unravel_index(values.argmax(), values.shape)]


check_twins(lambda vectors, titles: [vectors.index[0]] * 2)
# %% the same title
check_twins(lambda vectors, titles: highest(vectors, titles))
# %% numbers of rows
check_twins(lambda vectors, titles: (2, 3))
# %% the largest dot product
check_twins(lambda vectors, titles: highest(vectors, titles, similarity=lambda rows: rows @ rows.T))
# %% give back two item_ids
check_twins(lambda vectors, titles: vectors.index)
# %% padding has won
check_max_pool(lambda hidden, mask: hidden.amax(dim=1))
# %% 0 wins where all real numbers are negative
check_max_pool(lambda hidden, mask: (hidden * mask.unsqueeze(-1)).amax(dim=1))
# %% this is the mean
check_max_pool(lambda hidden, mask: (hidden * mask.unsqueeze(-1)).sum(dim=1) / mask.sum(dim=1, keepdim=True))
# %% one vector for each text
check_max_pool(lambda hidden, mask: hidden.amax(dim=2))
# %% the largest are -1 and 2
check_max_pool(lambda hidden, mask: hidden.masked_fill(mask.unsqueeze(-1) == 0, 9).amin(dim=1))
# %% a film that comes alone
check_centre(lambda known, new: new - new.mean())
# %% has seen the new ones
check_centre(lambda known, new: new - pd.concat([known, new]).mean())
# %% each row has lost its own mean
check_centre(lambda known, new: new.sub(new.mean(axis=1), axis=0))
# %% do not divide by the spread
check_centre(lambda known, new: (new - known.mean()) / known.std())
# %% nothing has changed
check_centre(lambda known, new: new)
# %% a row for each new film
check_centre(lambda known, new: known.mean())
