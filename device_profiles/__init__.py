"""Device profiles, budgets, cost models, and measuring through the `Engine` protocol, without knowing any engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from factory_base.lazy import public

if TYPE_CHECKING:
    from device_profiles.app_fleet import AppFleet as AppFleet
    from device_profiles.app_fleet import DeviceClass as DeviceClass
    from device_profiles.app_fleet import find_fleet as find_fleet
    from device_profiles.budgets import Budgets as Budgets
    from device_profiles.cost_models.device_costs import DeviceCosts as DeviceCosts
    from device_profiles.cost_models.models import CostModel as CostModel
    from device_profiles.cost_models.models import LatencyModel as LatencyModel
    from device_profiles.cost_models.models import costs_of as costs_of
    from device_profiles.costs import CostArrays as CostArrays
    from device_profiles.costs import Costs as Costs
    from device_profiles.engine import Engine as Engine
    from device_profiles.few_shot.network_tables import MeasuredNetworks as MeasuredNetworks
    from device_profiles.few_shot.network_tables import read_measurements as read_measurements
    from device_profiles.few_shot.onboarding import Fleet as Fleet
    from device_profiles.latency_table import LatencyTable as LatencyTable
    from device_profiles.latency_table import read_table as read_table
    from device_profiles.measuring.measure import MeasuredHost as MeasuredHost
    from device_profiles.measuring.measure import Plan as Plan
    from device_profiles.measuring.measure import measure_host as measure_host
    from device_profiles.modelling.modelled_host import host_sheet as host_sheet
    from device_profiles.modelling.roofline import profile_of as profile_of
    from device_profiles.modelling.soc import find_sheet as find_sheet
    from device_profiles.profile import DeviceProfile as DeviceProfile
    from device_profiles.profile import FoundProfile as FoundProfile
    from device_profiles.profile import find_profile as find_profile
    from device_profiles.profile import shipped_profiles as shipped_profiles
    from device_profiles.profile_writer import write_profile as write_profile
    from device_profiles.workload.operators import Workload as Workload
    from device_profiles.workload.workloads import Workloads as Workloads
    from device_profiles.workload.workloads import workload_of as workload_of

_MODULES = {
    "AppFleet": "device_profiles.app_fleet",
    "Budgets": "device_profiles.budgets",
    "CostArrays": "device_profiles.costs",
    "CostModel": "device_profiles.cost_models.models",
    "Costs": "device_profiles.costs",
    "DeviceClass": "device_profiles.app_fleet",
    "DeviceCosts": "device_profiles.cost_models.device_costs",
    "DeviceProfile": "device_profiles.profile",
    "Engine": "device_profiles.engine",
    "Fleet": "device_profiles.few_shot.onboarding",
    "FoundProfile": "device_profiles.profile",
    "LatencyModel": "device_profiles.cost_models.models",
    "LatencyTable": "device_profiles.latency_table",
    "MeasuredHost": "device_profiles.measuring.measure",
    "MeasuredNetworks": "device_profiles.few_shot.network_tables",
    "Plan": "device_profiles.measuring.measure",
    "Workload": "device_profiles.workload.operators",
    "Workloads": "device_profiles.workload.workloads",
    "costs_of": "device_profiles.cost_models.models",
    "find_fleet": "device_profiles.app_fleet",
    "find_profile": "device_profiles.profile",
    "find_sheet": "device_profiles.modelling.soc",
    "host_sheet": "device_profiles.modelling.modelled_host",
    "measure_host": "device_profiles.measuring.measure",
    "profile_of": "device_profiles.modelling.roofline",
    "read_measurements": "device_profiles.few_shot.network_tables",
    "read_table": "device_profiles.latency_table",
    "shipped_profiles": "device_profiles.profile",
    "workload_of": "device_profiles.workload.workloads",
    "write_profile": "device_profiles.profile_writer",
}
"""The module of each public name."""

if not TYPE_CHECKING:  # type checkers would accept every name of a package with a `__getattr__`
    __getattr__, __dir__ = public(__name__, _MODULES)
