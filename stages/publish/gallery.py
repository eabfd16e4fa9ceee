"""Draw what the level that is handed out does: its worst mistakes and where it looks. And the photos: augmented views as levels train
on them, near-duplicates, and what was skipped and why.

Writes data/gallery/mistakes.png, gradcam.png, augmentation.png, duplicates.png and skipped.png. They show photographs, so they are
in DVC's cache, and not in git.
"""

from littledata.core import process

process.begin("gallery", __name__)

from littledata.core import files, stage, tables
from littledata.report import answers, gallery
from littledata.scores import levels
from littledata.splits import dataset


def main(params) -> None:
    level, reason = levels.handed_out()
    why = f"of levels 2 and 3 this one is handed out: {reason}"
    both = answers.read(level, ["validation", "test"])
    pictures = {
        "mistakes": gallery.mistakes(level, both, params.fit, why),
        "gradcam": gallery.heat_maps(level, both, params.fit, params.activations.crops, why),
        "augmentation": gallery.augmentation(dataset.read_manifest(), params),
        "duplicates": gallery.near_duplicates(tables.rows("data/duplicates.csv")),
        "skipped": gallery.skipped(tables.rows("data/skipped.csv")),
    }
    gallery.GALLERY.mkdir(parents=True, exist_ok=True)
    for name, figure in pictures.items():
        with files.whole(gallery.GALLERY / f"{name}.png") as file:
            figure.savefig(file, format="png", metadata={"Software": None})


if __name__ == "__main__":
    stage.run("gallery", main)
