"""Plans of a training: parameters, memory, disk, arithmetic and time before it runs."""

from mindeye2.planning.inputs import choose_data, choose_sizes, plannable
from mindeye2.planning.plan import Plan, plan_training
from mindeye2.planning.print_plan import print_plan

__all__ = [
    "Plan",
    "choose_data",
    "choose_sizes",
    "plan_training",
    "plannable",
    "print_plan",
]
