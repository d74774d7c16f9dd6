"""Continual learning methods, one a file."""

from tagjax.methods import naive as naive
from tagjax.methods import of_optax as of_optax
from tagjax.methods.agem import agem as agem
from tagjax.methods.der import der as der
from tagjax.methods.der import der_plus_plus as der_plus_plus
from tagjax.methods.er import er as er
from tagjax.methods.er_ace import er_ace as er_ace
from tagjax.methods.ewc import ewc as ewc
from tagjax.methods.fine_tuning import fresh_each_task as fresh_each_task
from tagjax.methods.gem import gem as gem
from tagjax.methods.lwf import lwf as lwf
from tagjax.methods.mas import mas as mas
from tagjax.methods.mas_local import mas_local as mas_local
from tagjax.methods.rwalk import rwalk as rwalk
from tagjax.methods.si import si as si
from tagjax.methods.tag import tag_method as tag_method
