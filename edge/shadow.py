"""A candidate beside the model that serves, on a share of the live inputs: what the pairs say. Pure.

Both saw the same input, so each pair says more than two counts would: only the pairs in which the
models differ count (McNemar, 1947, "Note on the sampling error of the difference between correlated
proportions").
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edge.prediction import Prediction


@dataclass(frozen=True)
class Pairs:
    """Paired outcomes so far. `only_*_right` count pairs with a known truth in which the other was wrong."""

    pairs: int = 0
    agreeing: int = 0
    labelled: int = 0
    both_right: int = 0
    only_old_right: int = 0
    only_new_right: int = 0
    old_ns: int = 0
    new_ns: int = 0

    def plus(self, old: Prediction, new: Prediction, truth: int | None) -> Pairs:
        """Return the counts with one more pair. `truth` is the right class where it is known."""
        known = truth is not None
        right = (known and old.best == truth, known and new.best == truth)
        return replace(
            self,
            pairs=self.pairs + 1,
            agreeing=self.agreeing + (old.best == new.best),
            labelled=self.labelled + known,
            both_right=self.both_right + (right == (True, True)),
            only_old_right=self.only_old_right + (right == (True, False)),
            only_new_right=self.only_new_right + (right == (False, True)),
            old_ns=self.old_ns + old.latency_ns,
            new_ns=self.new_ns + new.latency_ns,
        )

    def __str__(self) -> str:
        if not self.pairs:
            return "pairs=0"
        words = [f"pairs={self.pairs} agreeing={self.agreeing}"]
        if self.labelled:
            words.append(
                f"labelled={self.labelled} both_right={self.both_right} "
                f"only_old_right={self.only_old_right} only_new_right={self.only_new_right}"
            )
        words.append(f"old_us={self.old_ns // self.pairs // 1000} new_us={self.new_ns // self.pairs // 1000}")
        return " ".join(words)
