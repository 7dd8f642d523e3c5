"""Put in place what a learner would wait for; postBuild runs it, and the benchmark."""

import matplotlib.font_manager  # noqa: F401, when first imported it lists the machine's fonts

from llmtok import TextEncoder, load_dataset
from llmtok.data import dataset_folder

# The ways in which the notebooks write an item's text, beside the default; the benchmark counts what is missing here.
TEMPLATES = {"movielens-small": ["{title}", "{title}. {genres}"], "debian-packages": ["{title}"]}

# How notebook 10 reads with its small models.
SMALL = [("bert", "mean"), ("gpt", "mean"), ("gpt", "last"), ("t5", "mean")]

folder = dataset_folder("small-models", progress=False)
small = [TextEncoder(folder / kind, pooling=how, max_length=64, progress=False) for kind, how in SMALL]
encoder = TextEncoder(progress=False)
for name, templates in TEMPLATES.items():
    data = load_dataset(name)
    for read in [data, *(data.with_text(template) for template in templates)]:
        encoder.fit_transform(read.items.text)
    for reader in small:
        reader.fit_transform(data.items.text)
