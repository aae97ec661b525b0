"""What the hits and log-likelihoods of a prompted model say: errors, paired tests, where variance comes from, power.

Everything takes plain arrays, so a stored record of (document, choice) log-likelihoods is enough::

    hits = credit(log_likelihoods, gold)  # (documents,) of one model with one set of shots
    paired_test(hits, hits_of_another_model, seed=0).mid_p
    accuracy_interval(hits_by_seed[:, :, None, None])  # documents x sets of shots x orders x templates
"""

from ptft.prompting.statistics.answers import best_choices, credit
from ptft.prompting.statistics.baselines import baselines
from ptft.prompting.statistics.lm_eval_errors import lm_eval_stderr
from ptft.prompting.statistics.ordering import OrderSensitivity, order_sensitivity
from ptft.prompting.statistics.paired import Paired, check_same_documents, paired_test
from ptft.prompting.statistics.power import detectable_paired, detectable_unpaired
from ptft.prompting.statistics.resampling import Resampled, bootstrap
from ptft.prompting.statistics.variance import VarianceSplit, accuracy_interval, split_variance

__all__ = [
    "OrderSensitivity",
    "Paired",
    "Resampled",
    "VarianceSplit",
    "accuracy_interval",
    "baselines",
    "best_choices",
    "bootstrap",
    "check_same_documents",
    "credit",
    "detectable_paired",
    "detectable_unpaired",
    "lm_eval_stderr",
    "order_sensitivity",
    "paired_test",
    "split_variance",
]
