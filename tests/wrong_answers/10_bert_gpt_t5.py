# %% one for each is needed
check_twice(lambda texts: " ".join(texts))
# %% say each of them twice
check_twice(lambda texts: texts)
# %% has to stand there twice, whole
check_twice(lambda texts: [text + " " + text[:5] for text in texts])
# %% glued to the second
check_twice(lambda texts: [text + text for text in texts])
# %% a text is a string
check_twice(lambda texts: [[text, text] for text in texts])
# %% the last place is padding
check_last(lambda hidden, mask: hidden[:, -1])
# %% the number of pieces is no place
check_last(lambda hidden, mask: hidden[np.arange(len(hidden)), mask.sum(axis=1) - 1])
# %% the first place
check_last(lambda hidden, mask: hidden[:, 0])
# %% one place too early
check_last(lambda hidden, mask: hidden[np.arange(len(hidden)), mask.sum(axis=1) - 2])
# %% a vector for each text is needed
check_last(lambda hidden, mask: hidden)
# %% this is GPT's table
check_prefix(lambda given, written: np.tri(given + written))
# %% this is BERT's table
check_prefix(lambda given, written: np.ones((given + written, given + written)))


# %% rows and columns have changed places
def turned(given, written):
    table = np.tri(given + written, dtype=bool)
    table[:given, :given] = True
    return table.T


check_prefix(turned)


# %% what is written must see what is given
def apart(given, written):
    table = np.tri(given + written, dtype=bool)
    table[:, :given] = False
    table[:given, :given] = True
    return table


check_prefix(apart)


# %% a row and a column for each
check_prefix(lambda given, written: np.ones((given, written)))


# %% use `n_given`
def by_heart(given, written):
    table = np.tri(5, dtype=bool)
    table[:3, :3] = True
    return table


check_prefix(by_heart)


# %% the sum of the cosines
check_both(lambda one, other, d: [np.hstack(p) for p in zip(finish(one, d), finish(other, d), strict=True)])
# %% drown the others
check_both(lambda one, other, d: finish(np.hstack([one, other]), d))
# %% those of both
check_both(lambda one, other, d: finish(one, d))
# %% not the mean of the two cosines
check_both(
    lambda one, other, d: [np.hstack(p) * 0.1 for p in zip(finish(one, d), finish(other, d), strict=True)]
)
