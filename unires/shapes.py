"""Names for array shapes, used in every signature.

Photos live in [0, 1], float32, channels last. Latents are channels last and normalised to about unit
variance. [-1, 1] exists only inside the autoencoder.
"""

from jax import Array
from jaxtyping import Float
from numpy import ndarray

AnyArray = ndarray | Array

Photo = Float[AnyArray, "h w 3"]  # one photo, [0, 1]
Photos = Float[AnyArray, "b h w 3"]  # a batch of photos of one size, [0, 1]
Latent = Float[AnyArray, "b i j c"]  # autoencoder latents, noisy or clean
Weights = Float[AnyArray, " k"]  # one weight an expert, sums to 1
