"""`Findings`: everything that is worked out of a run, once, for the page and for exported files.

Knows nothing of files or of HTML.
"""

from __future__ import annotations

import pandas as pd

from analysis.attribution import attributions
from analysis.charts import Chart
from analysis.figures.curves import CurvesInfo, curves_chart, curves_info
from analysis.figures.fusion import fusion_chart
from analysis.figures.growth import growth_chart
from analysis.figures.importance import importance_chart
from analysis.figures.marginals import marginals, marginals_chart
from analysis.figures.memory import memory_chart
from analysis.figures.pareto import ParetoInfo, comparable_reference, pareto_chart, pareto_info
from analysis.figures.waste import waste_chart
from analysis.importance import Importance, importances
from analysis.load import RUN, Run
from analysis.pairs import Fusion, fusion_pairs
from analysis.progress import hypervolume_paths, reference_of, spent
from analysis.selection import BudgetAnswer, best_per_budget, is_on_front
from analysis.tables import (
    Table,
    best_table,
    front_table,
    fusion_table,
    growth_table,
    importance_table,
    memory_table,
    paper_table,
    waste_table,
)


class Findings:
    """What a run says."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.answers: list[BudgetAnswer] = best_per_budget(run)
        self.pareto: ParetoInfo = pareto_info(run)
        self.curves: CurvesInfo = curves_info(run)
        self.importances: tuple[Importance, ...] = importances(run)
        self.fusion: Fusion = fusion_pairs(run)
        self.reference = reference_of(run)
        self._paths = hypervolume_paths(run)
        self._spent = spent(run)
        self._attributions = attributions(run)

    def charts(self) -> dict[str, Chart]:
        """Return name -> figure, the Pareto plot first."""
        name = self.run.metric_name
        found = (
            pareto_chart(self.pareto),
            growth_chart(self._paths, self.reference, name),
            importance_chart(self.importances, name),
            marginals_chart(marginals(self.run), name),
            fusion_chart(self.fusion, name),
            memory_chart(self._attributions, name),
            waste_chart(self._spent),
            curves_chart(self.curves),
        )
        return {chart.name: chart for chart in found}

    def tables(self) -> dict[str, Table]:
        """Return name -> table."""
        name = self.run.metric_name
        found = (
            best_table(self.run, self.answers),
            front_table(self.run),
            growth_table(self._paths),
            importance_table(self.importances, name),
            fusion_table(self.fusion, name),
            memory_table(self._attributions, name),
            waste_table(self._spent),
            paper_table(comparable_reference(self.run)),
        )
        return {table.name: table for table in found}


def trials_with_front(run: Run) -> pd.DataFrame:
    """Return all columns of the trials and `on_front`; `run` only where there are several."""
    trials = run.trials.assign(on_front=is_on_front(run.trials))
    return trials if len(run.names) > 1 else trials.drop(columns=[RUN])


def title_of(run: Run) -> str:
    """Return what the run is called over its figures."""
    names = []
    for name, sweep in run.sweeps.items():
        of_run = run.trials_of(name)
        names.append(sweep.name or next(iter(of_run["sweep"].dropna()), None) or name)
    several = names if len(set(names)) == len(names) else list(run.names)
    data = "" if run.dataset is None else f" on {run.dataset}"
    return f"{' and '.join(several)}{data}{' (sample data)' if run.data_is_sample else ''}"
