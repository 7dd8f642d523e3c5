# %% not percent
check_busy(64, 92)
# %% the share that went away
sizes = ratings["user_id"].value_counts()
check_busy(1 - (sizes >= MIN_USER_RATINGS).mean(), 0.5)
# %% users and ratings have changed places
check_busy(sizes[sizes >= MIN_USER_RATINGS].sum() / len(ratings), (sizes >= MIN_USER_RATINGS).mean())
# %% one number
check_busy("64%", "92%")
# %% the share of users is not 0.123
check_busy(0.123, 0.5)
# %% the action cart too
check_strengths({"view": 1, "buy": 10})
# %% a cart is worth 2 looks
check_strengths({"view": 1, "cart": 2, "buy": 10})
# %% worth 3 looks; the colleague says ten
check_strengths({"view": 1, "cart": 1, "buy": 3})
# %% more than a look
check_strengths({"view": 1, "cart": 1, "buy": 1})
# %% a cart is worth 0 looks
check_strengths({"view": 1, "cart": 0, "buy": 10})
# %% a look must be worth something
check_strengths({"view": 0, "cart": 0, "buy": 10})
# %% give a dictionary
check_strengths([1, 1, 10])
# %% 'Love, Actually' should stay as it is
check_plain(lambda titles: titles.str.replace(r"^(.*), (\w+)\s*$", r"\2 \1", regex=True))
# %% 'Ideal Husband, An' has kept its article
check_plain(lambda titles: titles.str.replace(r"^(.*), (The|A)$", r"\2 \1", regex=True))
# %% 'Blind Side, The ' has kept its article
check_plain(lambda titles: titles.str.replace(r"^(.*), (The|A|An)$", r"\2 \1", regex=True))
# %% the comma is left over
check_plain(lambda titles: titles.str.replace(r"^(.*,) (The|A|An)\s*$", r"\2 \1", regex=True))
# %% 'Man Escaped, A (1956)' should stay as it is
check_plain(
    lambda titles: titles.str.replace(r"^(.*), (The|A|An)\b\s*(.*)$", r"\2 \1 \3", regex=True).str.strip()
)
# %% came out
check_plain(lambda titles: titles[titles.str.contains(",")])
# %% the film's own mean
check_mix(lambda own, n: own)
# %% every film gets the prior
check_mix(lambda own, n: own * 0 + prior)
# %% more ratings must count more
check_mix(lambda own, n: (n * prior + enough * own) / (n + enough))
# %% for n = 1, but 10.0 for n = 10
check_mix(lambda own, n: (own + prior) / 2)
# %% where did the curves cross
check_mix(lambda own, n: (3 * enough * prior + n * own) / (3 * enough + n))
# %% mix `own_mean`
check_mix(lambda own, n: mixed(n, enough))
# %% one guess for each film
check_mix(lambda own, n: enough)
# %% with `prior`, the same for every film
check_mix(lambda own, n: (enough * own.mean() + n * own) / (enough + n))
# %% between the prior and the film's own mean
check_mix(lambda own, n: 2 * own - prior)
