"""Facts about methods, tasks, data sets and settings, each declared once. Imports no torch.

Whether a method samples patches, which settings a task reads, what the defaults of a data set are:
the rest of the code asks here instead of comparing names. A name is one of ours, listed in
`methods`, `tasks` or `datasets`, or `package.module:Name` of the user's own class, which carries
its facts in the class attribute `facts`.
"""

from patchtrain.catalog.datasets import DATASETS
from patchtrain.catalog.facts import (
    DatasetFacts,
    MethodFacts,
    Range,
    Role,
    Search,
    TaskFacts,
    Values,
)
from patchtrain.catalog.lookup import (
    check_listed,
    dataset,
    dataset_reads,
    implementation,
    is_own,
    known_method,
    method,
    own_parts,
    reads,
    task,
    unread_settings,
)
from patchtrain.catalog.methods import METHODS
from patchtrain.catalog.tasks import HEADS, TASKS

__all__ = [
    "DATASETS",
    "HEADS",
    "METHODS",
    "TASKS",
    "DatasetFacts",
    "MethodFacts",
    "Range",
    "Role",
    "Search",
    "TaskFacts",
    "Values",
    "check_listed",
    "dataset",
    "dataset_reads",
    "implementation",
    "is_own",
    "known_method",
    "method",
    "own_parts",
    "reads",
    "task",
    "unread_settings",
]
