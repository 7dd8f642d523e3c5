"""Put in place what a learner would wait for; postBuild runs it, and the benchmark."""

import matplotlib.font_manager  # noqa: F401, when first imported it lists the machine's fonts

from llmtok import TextEncoder, load_dataset

# The ways in which the notebooks write an item's text, beside the default; the benchmark counts what is missing here.
TEMPLATES = {"movielens-small": ["{title}", "{title}. {genres}"], "debian-packages": ["{title}"]}

encoder = TextEncoder(progress=False)
for name, templates in TEMPLATES.items():
    data = load_dataset(name)
    for read in [data, *(data.with_text(template) for template in templates)]:
        encoder.fit_transform(read.items.text)
