"""The blog's three levels, and what it reports of them."""

LEVELS = {"small_cnn": "1 small convnet", "top": "2 bottleneck features", "finetune": "3 fine-tuning"}
BLOG = {"small_cnn": (0.79, 0.81), "top": (0.90, 0.91), "finetune": (0.94, 0.94)}  # validation accuracy, from and to
BLOG_CLASSES = ["cat", "dog"]  # of other photos its figures say nothing
