"""Where things are, how large a run is, what the environment asks for, and the errors that a user may see.

Read the folders as ``settings.ARTIFACTS``, ``settings.WEIGHTS`` and ``settings.FIGURES`` when you need them:
tests replace them.
"""

from . import environment as environment
from .checks import EPS as EPS
from .checks import check_count as check_count
from .checks import check_eps as check_eps
from .checks import check_seed as check_seed
from .checks import plain_numbers as plain_numbers
from .checks import whole_number as whole_number
from .environment import cifar10_dir as cifar10_dir
from .environment import crafting_precision as crafting_precision
from .environment import devices_option as devices_option
from .environment import expanded as expanded
from .environment import files_log as files_log
from .environment import is_offline as is_offline
from .environment import keras_home as keras_home
from .environment import progress_file as progress_file
from .environment import shows_tensorflow_log as shows_tensorflow_log
from .environment import takes_shipped_networks as takes_shipped_networks
from .environment import thread_variables as thread_variables
from .environment import training_precision as training_precision
from .environment import workers as workers
from .errors import CourseError as CourseError
from .files import cannot_write as cannot_write
from .files import disk_is_full as disk_is_full
from .files import find_file as find_file
from .files import read_json as read_json
from .files import write_atomically as write_atomically
from .networks import Networks as Networks
from .noise import is_noise as is_noise
from .paths import ANSWERS_MIME as ANSWERS_MIME
from .paths import ARTIFACTS as ARTIFACTS
from .paths import FIGURES as FIGURES
from .paths import RECORDS_MIME as RECORDS_MIME
from .paths import ROOT as ROOT
from .paths import WEIGHTS as WEIGHTS
from .paths import WIDGET_MIME as WIDGET_MIME
from .paths import ensure_home as ensure_home
from .profiles import PROFILES as PROFILES
from .profiles import Profile as Profile
from .profiles import profile as profile
from .progress_bar import note as note
from .progress_bar import progress as progress
from .wording import one_line as one_line
from .wording import shown as shown
