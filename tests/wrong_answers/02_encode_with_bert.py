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
# %% nearly the same
check_order("dog bites man", "man bites dog")
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


# %% look titles up by item_id
def by_place(vectors, titles):
    values, names = cosine_similarity(vectors), titles.to_numpy()[: len(vectors)]
    values[names[:, None] == names] = -1
    return [vectors.index[place] for place in np.unravel_index(values.argmax(), values.shape)]


check_twins(by_place)
# %% these are titles
check_twins(lambda vectors, titles: ("Brazil", "Casino"))
# %% give back two item_ids, not 33
check_twins(lambda vectors, titles: 33)
# %% give back two item_ids
check_twins(lambda vectors, titles: vectors.index)
# %% padding has won
check_max_pool(lambda hidden, mask: hidden.amax(dim=1))
# %% padding is now -1, and wins
check_max_pool(lambda hidden, mask: hidden.masked_fill(mask.unsqueeze(-1) == 0, -1).amax(dim=1))
# %% take its `.values`
check_max_pool(lambda hidden, mask: hidden.masked_fill(mask.unsqueeze(-1) == 0, -9e9).max(dim=1))
# %% padding is now 0, and wins
check_max_pool(lambda hidden, mask: (hidden * mask.unsqueeze(-1)).amax(dim=1))
# %% this is the mean
check_max_pool(lambda hidden, mask: (hidden * mask.unsqueeze(-1)).sum(dim=1) / mask.sum(dim=1, keepdim=True))
# %% one vector for each text
check_max_pool(lambda hidden, mask: hidden.amax(dim=2))
# %% the largest are -20 and 2
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
# %% these are the known films
check_centre(lambda known, new: known - known.mean())
# %% one mean for all numbers
check_centre(lambda known, new: new - known.to_numpy().mean())
# %% a row for each new film
check_centre(lambda known, new: known.mean())
