# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 00 Map
#
# **Question.** What is UniRes, where does each of its ideas live in this code, and what proves it?
#
# **In:** nothing; no weights are read. **Out:** the way of the data as a picture, the reading order, the table
# *paper idea | code | notebook | proof*, and the size of the model in each profile.
#
# **Minutes:** smoke under 1 | demo under 1.

# %% [markdown]
# ## The idea
#
# A real photo is rarely flawed in one way. It is dark *and* shaken *and* small, in unknown shares. Training data
# with every mixture of flaws does not exist; training data for each flaw alone does. UniRes learns the single
# flaws and **mixes what it learned when it restores**:
#
# $$\hat\epsilon(w) \;=\; \sum_{k=1}^{K} w_k\,\epsilon_\theta(z_t,\, z_{LQ},\, s_k),
# \qquad \sum_k w_k = 1 \qquad\text{(Eq. 2)}$$
#
# In words: one network $\epsilon_\theta$ looks at a noisy latent $z_t$ and at the flawed photo's latent $z_{LQ}$
# and guesses the noise in $z_t$. A prompt $s_k$ tells it which flaw to think of: the same network asked with
# another prompt is another **expert**. Their guesses are added with weights $w_k$, in every step of the
# sampling. The weights belong to the photo and are found after training.
#
# The experts, by the paper's abbreviations: **BR** blind restoration (no prompt), **SR** super-resolution,
# **MD** motion deblurring, **DD** defocus deblurring, **DN** denoising, and **DownLQ**, which is SR that is only
# shown a reduced copy of the photo and is to make up more detail. **LQ** is a flawed (low-quality) photo,
# **HQ** a sharp one.

# %% tags=["parameters"]
profile = "smoke"
seed = 0
run_dir = "results/runs/by-hand"

# %%
import os
from pathlib import Path

if Path.cwd().name == "notebooks":  # Jupyter starts there; everything below is named from the project's root
    os.chdir("..")

import matplotlib.pyplot as plt
import pandas as pd

import unires.profiles
from benchmarks.figures import save_figure
from unires.models.ldm import LDM, parameter_count
from unires.tasks import EXPERTS

config = unires.profiles.profile(profile)
experts = [{"expert": e.name, "prompt": e.prompt or "(none)", "LQ reduced by": e.factor} for e in EXPERTS]
pd.DataFrame([e | {"drawn in training": t.probability} for e, t in zip(experts, EXPERTS, strict=True)])

# %% [markdown]
# SR and DownLQ share one prompt: they differ only in what they are shown. The last column is the share of each
# task among the training pairs. BR and DownLQ need no pairs of their own: BR is trained by leaving the prompt
# out now and then, DownLQ is a use of SR.

# %%
assert abs(sum(expert.probability for expert in EXPERTS) - 1) < 1e-9
assert len(EXPERTS) == 6 and len({expert.prompt for expert in EXPERTS}) == 5

# %% [markdown]
# ## The way of the data
#
# Top row, once a photo: the flawed photo becomes a small stack of feature maps, the *latent*. Middle row, from right
# to left, once a sampling step: each expert guesses, the guesses are mixed, and DDIM (a deterministic way to take noise away)
# moves one step from noise to photo. Bottom row: the clean latent becomes a photo, gets the flawed photo's
# colours, and is judged.

# %%
ROWS = [  # the middle row runs from right to left
    (["photo x", "degrade", "y (LQ)", "VAE\nencode", "z_LQ"], "#dbe9f6", 1),
    (["z_0", "DDIM\nstep", "compose\nEq. 2", "UNet,\nK times", "noise z_T"], "#fde5c8", -1),
    (["VAE\ndecode", "colour\nof y", "x_hat", "metrics", "rows.jsonl"], "#dff0d8", 1),
]
figure, axes = plt.subplots(figsize=(8, 3.4))
arrow = {"arrowstyle": "->", "color": "0.3"}
for r, (names, colour, way) in enumerate(ROWS):
    for c, name in enumerate(names):
        box = {"boxstyle": "round,pad=0.5", "facecolor": colour, "edgecolor": "0.4"}
        axes.text(c, -r, name, ha="center", va="center", fontsize=10, bbox=box)
        if c:
            axes.annotate("", (c - 0.5 + 0.14 * way, -r), (c - 0.5 - 0.14 * way, -r), arrowprops=arrow)
axes.annotate("", (3.3, -0.65), (3.8, -0.3), arrowprops=arrow)  # z_LQ is an input of every UNet call
axes.annotate("", (0, -1.65), (0, -1.3), arrowprops=arrow)
axes.annotate("", (2.8, -1.36), (1.2, -1.36), arrowprops=arrow | {"connectionstyle": "arc3,rad=0.2"})
axes.text(2, -1.5, "next t", ha="center", fontsize=9, color="0.3")
axes.set(xlim=(-0.5, 4.5), ylim=(-2.4, 0.4))
axes.axis("off")
save_figure(figure, run_dir, "00_way_of_the_data.png");

# %% [markdown]
# ## Reading order
#
# Each notebook asks one question and can be read alone; in this order they build on each other. Minutes are for
# two processor cores; each notebook uses what the ones before it have already restored. Two run on request only:
# `python -m benchmarks.run --profile demo --only 45_specialisation`.
#
# | notebook | question | minutes smoke, demo |
# |---|---|---|
# | `00_map` | What is UniRes and where is everything? | <1, <1 |
# | `10_photos_and_flaws` | How does a photo go bad, and what do we restore? | <1, <1 |
# | `12_diversephotos` | Which photos does the paper judge itself on, and how do we get them? | <1, <1 |
# | `20_latents` | What is a latent, and what does it cost to work there? | <1, <1 |
# | `25_paper_size` | Is the large model the public one, and how do its weights get in? | <1, <1 |
# | `30_train_experts` | How does one network learn four tasks at once? | <1, 3 |
# | `32_training_campaign` | Which choices make experts that differ? | <1, <1 |
# | `40_one_expert` | What can each expert do on its own? | <1, 4 |
# | `45_specialisation` | Is each expert the best at its own flaw? | <1, 25 on request |
# | `46_baselines` | What would a user pick instead? | 1, 33 on request |
# | `50_compose_experts` | What happens when their guesses are mixed? | <1, 5 |
# | `55_downlq` | What happens when the model is told less, and when does it make things up? | <1, 2 |
# | `60_search_weights` | Which mixture suits this photo, and who decides? | <1, 1 |
# | `65_cheaper_search` | How little of the grid is enough? | <1, 1 |
# | `72_table2` | Who restores best where several flaws meet, in the paper and here? | <1, <1 |
# | `73_table3` | And where a small photo is to become large? | <1, <1 |
# | `74_table4` | What is lost when one part is taken away? | <1, 1 |
# | `75_table5` | What does each way to choose weights cost? | <1, <1 |
# | `76_table6` | Is each expert good at its own task? | <1, <1 |
# | `77_table7` | Which flaws are in the test sets, and how many of each? | <1, <1 |
# | `80_prompts` | What do words of praise and blame do, and a prompt that nobody trained? | <1, 1 |
# | `85_metric_bias` | When does the score choose wrongly, and what does a guard give back? | 1, 5 |
# | `90_report` | What came out, beside what the paper printed? | <1, <1 |

# %% [markdown]
# ## Paper to code
#
# One row an idea. *Code* is where to read it, *notebook* where to see it at work, *proof* the test that fails if
# it is wrong (each compares with a closed form, another implementation or a published number). Rows that begin
# with **our choice** are what the paper leaves open, with the reason. `tests/test_map.py` checks every name.
#
# | paper idea | code | notebook | proof |
# |---|---|---|---|
# | Eq. 1: the network learns to guess the noise in $z_t$ | `unires/loss.py::ldm_loss` | `30_train_experts` | `test_loss.py::test_perfect_prediction_has_no_loss` |
# | Eq. 1: noise is added by $z_t = \alpha_t z_0 + \sigma_t \epsilon$ | `unires/schedule.py::Schedule`, `unires/schedule.py::add_noise` | `20_latents` | `test_schedule.py::test_alphas_match_the_product_of_betas`, `test_schedule.py::test_v_eps_and_x0_are_one_thing` |
# | Eq. 1: what is guessed, $\epsilon$ | `unires/schedule.py::target` | `30_train_experts` | `test_schedule.py::test_v_eps_and_x0_are_one_thing` |
# | Section 3: all tasks train one network at once | `unires/train.py::train_ldm` | `30_train_experts` | `test_train.py::test_killed_run_resumes_exactly` |
# | Section 3: tasks are drawn with probabilities .32 .28 .18 .22 | `unires/tasks.py::TASKS`, `unires/data.py::pair_batch` | `30_train_experts` | `test_data.py::test_batches_are_a_function_of_seed_and_step` |
# | Section 3: photo and prompt are each dropped with probability .1 | `unires/loss.py::ldm_loss`, `unires/config.py::Config` | `30_train_experts` | `test_loss.py::test_perfect_prediction_has_no_loss`, `test_loss.py::test_conditions_are_dropped_independently_with_their_probability` |
# | Section 3: a latent diffusion model, fine-tuned whole | `unires/models/ldm.py::LDM`, `unires/train.py::train` | `00_map`, `30_train_experts` | `test_models.py::test_paper_config_is_abstract_and_counts`, `test_train.py::test_fine_tuning_begins_where_the_checkpoint_ended` |
# | Section 3: $z_{LQ}$ is concatenated to $z_t$, only the first convolution grows | `unires/models/unet.py::UNet` | `40_one_expert` | `test_models.py::test_unet_counts_the_public_parameters` |
# | Section 3: the 865M model, weight for weight the public one | `benchmarks/paper_parity.py::compare`, `unires/models/names.py::places` | `25_paper_size` | `test_parity.py::test_whole_networks_are_the_public_ones`, `test_convert.py::test_every_array_has_its_own_place` |
# | Section 3: fine-tuning starts from the text-to-image model; new weights of the first convolution are zero | `unires/models/convert.py::convert`, `unires/models/convert.py::convert_file` | `25_paper_size` | `test_convert.py::test_the_widened_model_is_the_narrow_one_bit_for_bit`, `test_convert.py::test_a_converted_file_is_a_checkpoint` |
# | Eq. 1-2: the prompts $s_k$ are constants, so the paper's text tower is asked once | `unires/models/prompts.py::embed`, `unires/models/prompts.py::prompts_beside` | `25_paper_size` | `test_prompts.py::test_kept_prompts_are_the_towers`, `test_prompts.py::test_no_text_tower_is_needed` |
# | Eq. 1-2: the prompt $s$ reaches the network by cross-attention | `unires/models/text.py::TextEncoder` | `40_one_expert` | `test_models.py::test_text_encoder_is_causal` |
# | Section 3: the blind expert BR is the network without a prompt | `unires/tasks.py::BR`, `unires/tasks.py::weights_vector` | `40_one_expert` | `test_equations.py::test_weights_are_checked` |
# | Eq. 2: guesses are mixed, $\sum_k w_k \epsilon_k$ | `unires/compose.py::compose` | `50_compose_experts` | `test_equations.py::test_compose` |
# | Eq. 2: weights are real numbers that sum to 1 | `unires/tasks.py::weights_vector` | `50_compose_experts` | `test_equations.py::test_weights_are_checked` |
# | Eq. 2: in every sampling step, all experts in one batch | `unires/sample.py::predict_composed` | `50_compose_experts` | `test_equations.py::test_batched_experts_equal_a_loop` |
# | Section 3: $g(x, w)$ samples with DDIM | `unires/sample.py::ddim` | `40_one_expert` | `test_equations.py::test_ddim_on_gaussian_data_has_its_closed_form` |
# | Eq. 3: $g(x, w)$, photo to photo | `unires/restore.py::restore`, `unires/restore.py::Restorer` | `40_one_expert` | `test_restore.py::test_any_size` |
# | Section 3: DownLQ, the fidelity-quality dial (Figure 3) | `unires/compose.py::down_lq` | `55_downlq` | `test_equations.py::test_down_lq` |
# | Figure 3: DownLQ at factors 1 to 16, each one an expert of the same list | `unires/tasks.py::down_lq_experts` | `55_downlq` | `test_engine.py::test_any_list_of_experts` |
# | A.7: positive and negative words, +1 and -1 on top of searched weights | `unires/tasks.py::with_words`, `unires/tasks.py::POSITIVE`, `unires/tasks.py::NEGATIVE` | `80_prompts` | `test_engine.py::test_words_are_added_on_top` |
# | Section 3: classifier-free guidance is a special case of Eq. 2 | `unires/tasks.py::guidance` | `80_prompts` | `test_engine.py::test_guidance_is_a_composition` |
# | Eq. 4: the grid of weights, 1512 vectors | `unires/search.py::grid` | `60_search_weights` | `test_equations.py::test_the_grid_has_1512_and_252_vectors` |
# | Eq. 3: the best weights of one photo, over the grid or over a few frequent vectors (Table 5) | `unires/search.py::best_of` | `60_search_weights` | `test_equations.py::test_best_of_finds_the_known_optimum` |
# | Eq. 3 as the tables use it, by the profile's settings: a short list by NIQE, or the whole grid by MUSIQ, also with A.7's words on top | `benchmarks/table_methods.py::Methods`, `benchmarks/searches.py::grids` | `72_table2` | `test_searches.py::test_the_grid_has_its_parts`, `test_table_methods.py::test_the_grid_is_searched_by_the_profiles_judge`, `test_table_methods.py::test_words_come_on_top` |
# | Section 4 and Table 5: any list of weights, sampled and judged | `unires/search.py::among` | `85_metric_bias` | `test_search.py::test_lists_find_the_known_optimum` |
# | Table 5's short lists, as a user gets them: twelve vectors in the photo's middle, chosen by the judge or by NIQE (`--weights auto`) | `unires/search.py::automatic`, `unires/search.py::short_list` | `85_metric_bias` | `test_search.py::test_automatic_tries_the_short_list`, `test_judge.py::test_the_judge_has_the_word_where_it_knows_the_experts` |
# | After sampling: AdaIN gives back the colours of the LQ photo | `unires/colour.py::adain` | `40_one_expert` | `test_colour.py::test_adain_matches_mean_and_deviation` |
# | SR's flaw: Real-ESRGAN's second-order pipeline, two rounds of blur, resize, noise and JPEG | `unires/degrade/super_resolution.py::draw`, `unires/degrade/super_resolution.py::SRSettings` | `10_photos_and_flaws` | `test_super_resolution.py::test_branches`, `test_super_resolution.py::test_settings_are_the_published_ones` |
# | MD's flaw: camera shake, and objects that move by themselves (OID-Motion, Figure 13) | `unires/degrade/motion.py::trajectory`, `unires/degrade/kernels.py::rasterise`, `unires/degrade/motion.py::shake_objects` | `10_photos_and_flaws` | `test_motion.py::test_trajectory`, `test_kernels.py::test_rasterise_shares`, `test_motion.py::test_one_hand_for_all_is_a_shake` |
# | DD's flaw: a lens out of focus, near and far apart | `unires/degrade/kernels.py::disc`, `unires/degrade/aperture.py::polygon`, `unires/degrade/defocus.py::defocus_layers` | `10_photos_and_flaws` | `test_kernels.py::test_disc_area`, `test_defocus.py::test_polygon_area`, `test_defocus.py::test_any_size`, `test_defocus.py::test_blurred_object_spreads` |
# | DN's flaw: few photons and a noisy read-out, on the raw sensor | `unires/degrade/noise.py::poisson_gaussian`, `unires/degrade/raw.py::unprocess`, `unires/degrade/sensor.py::raw_noise` | `10_photos_and_flaws` | `test_raw.py::test_raw_noise_variance`, `test_raw.py::test_process_undoes_unprocess` |
# | Complex degradations: several flaws in one photo | `unires/degrade/__init__.py::degrade`, `unires/degrade/mixture.py::one_camera` | `10_photos_and_flaws` | `test_degrade.py::test_mixture_order`, `test_degrade.py::test_same_seed_same_bytes` |
# | DiversePhotos x1 and x4: 160 photos of three data sets (Table 7) | `benchmarks/diversephotos.py::build`, `benchmarks/diversephotos_report.py::read_manifest` | `12_diversephotos` | `test_diversephotos.py::test_157_of_160`, `test_diversephotos.py::test_the_manifest_has_the_counts_of_table_7` |
# | Tables 2-6 as printed, beside ours: a difference only on the same photos, the best three shaded | `benchmarks/tables.py::paper_table`, `benchmarks/tables.py::beside`, `benchmarks/tables.py::shade_top` | `72_table2`, `73_table3`, `74_table4`, `75_table5`, `76_table6` | `test_tables.py::test_a_printed_table_becomes_tidy`, `test_tables.py::test_beside_by_hand`, `test_tables.py::test_the_best_three_are_shaded` |
# | Tables 2-6: the paper's test sets, read where they are on this disk | `benchmarks/table_sets.py::paper_set` | `72_table2`, `73_table3`, `76_table6` | `test_table_runs.py::test_a_set_of_the_paper_is_read` |
# | Table 4: experts struck out of the grid, looked up in the grid that was run | `benchmarks/table_runs.py::grid_rows` | `74_table4` | `test_table_runs.py::test_strike_outs_are_looked_up` |
# | Table 7: where the photos come from, flaw by flaw | `benchmarks/diversephotos_report.py::read_manifest` | `77_table7` | `test_diversephotos.py::test_the_manifest_has_the_counts_of_table_7` |
# | Tables 2-6: PSNR on RGB | `unires/metrics.py::psnr` | `10_photos_and_flaws` | `test_metrics.py::test_psnr_has_its_closed_form` |
# | Tables 2-6: SSIM (Eq. 13 of Wang et al.) | `unires/metrics.py::ssim` | `10_photos_and_flaws` | `test_metrics.py::test_psnr_and_ssim_agree_with_scikit_image` |
# | Tables 2-6: LPIPS (Eq. 1 of Zhang et al.) | `unires/metrics.py::lpips` | `10_photos_and_flaws` | `test_metrics.py::test_lpips_agrees_with_torch` |
# | Tables 2-6: ClipIQA, MUSIQ, ManIQA beside the others; each score says on which variant, version and weights it stands | `unires/metrics.py::measure`, `unires/metrics.py::contract` | `90_report` | `test_contract.py::test_a_missing_file_is_named_with_its_place`, `test_contract.py::test_contracts_say_what_a_score_stands_on` |
# | Eq. 3: MUSIQ, the score $Q$ that the paper searches with | `unires/published.py::musiq`, `unires/models/musiq.py::score` | `60_search_weights` | `test_contract.py::test_musiq_takes_the_file_it_finds`, `test_musiq.py::test_scores_are_pyiqas` |
# | Table 6: FID between two folders of photos | `unires/fid.py::fid`, `unires/fid.py::frechet` | `90_report` | `test_fid.py::test_fid_is_pyiqas`, `test_fid.py::test_frechet_against_the_matrix_root` |
# | A score without reference, NIQE (Eq. 1-3, 7, 10 of Mittal et al.) | `unires/niqe.py::niqe`, `unires/niqe.py::normalise`, `unires/niqe.py::aggd` | `60_search_weights` | `test_metrics.py::test_niqe_agrees_with_pyiqa`, `test_metrics.py::test_aggd_finds_known_parameters` |
# | **our choice**: a benchmark of complex degradations with references; the paper has none, so nobody can tell invention from repair | `benchmarks/complex11.py::build` | `10_photos_and_flaws` | `test_complex11.py::test_rebuilt_twice_it_is_the_same_to_the_byte` |
# | **our choice**: objects that move, and depths, are proposed by a segmentation where nobody drew masks | `unires/degrade/segments.py::propose` | `10_photos_and_flaws` | `test_segments.py::test_labels_keep_the_rules` |
# | **our choice**: NIQE in place of MUSIQ as the searched score $Q$; MUSIQ's weights come with no package, NIQE's prior can be fitted on a laptop and its author's code checked | `unires/niqe.py::fit_prior` | `60_search_weights` | `test_metrics.py::test_prior_is_the_mean_and_covariance_of_sharp_blocks` |
# | **our choice**: number and spacing of DDIM steps (not in the paper); few, and ending at the noisiest time, because a laptop pays for each | `unires/schedule.py::Schedule.grid`, `unires/config.py::SampleConfig` | `40_one_expert` | `test_schedule.py::test_time_grids` |
# | **our choice**: the small model guesses $v$ instead of $\epsilon$; it stays informative at every noise level, and with $\sum_k w_k = 1$ Eq. 2 is the same | `unires/schedule.py::split_prediction` | `30_train_experts` | `test_equations.py::test_composing_eps_v_and_x0_agree`, `test_schedule.py::test_v_eps_and_x0_are_one_thing` |
# | **our choice**: the small network starts from the flawed latent and predicts what that guess misses; otherwise it spends its training learning to copy | `unires/models/ldm.py::LDM`, `unires/schedule.py::v_from_lq` | `30_train_experts` | `test_schedule.py::test_v_from_lq_is_the_gaussian_posterior`, `test_models.py::test_a_new_model_answers_with_the_lq_photo` |
# | **our choice**: zero terminal SNR for the small model, so that training has seen what sampling starts from | `unires/config.py::ScheduleConfig` | `20_latents` | `test_schedule.py::test_zero_terminal_snr_moves_the_last_alpha_to_zero_and_keeps_the_first`, `test_schedule.py::test_at_zero_snr_v_still_tells_the_photo` |
# | **our choice**: beside its correction, the small network says how far to trust what $z_t$ adds to the flawed latent | `unires/models/ldm.py::LDM.predict` | `30_train_experts` | `test_models.py::test_a_gate_is_another_spread`, `test_schedule.py::test_another_spread_is_a_multiple_of_the_innovation` |
# | **our choice**: the small model has a base of its own to be fine-tuned from, and its fine-tuning also looks at decoded answers (LPIPS): few sampling steps leave the mean's blur in the picture | `unires/profiles.py::DEMO`, `unires/loss.py::perceptual_distance` | `30_train_experts` | `test_config.py::test_what_is_fine_tuned_keeps_its_autoencoder`, `test_loss.py::test_the_perceptual_term_looks_at_decoded_answers`, `test_loss.py::test_perceptual_distance_is_lpips_with_vgg16` |
# | **our choice**: AdamW, for the small networks' hidden kernels Muon, with clipping, warm-up and cosine decay; the paper gives the rate alone | `unires/train.py::optimiser`, `unires/train.py::rate` | `30_train_experts` | `test_train.py::test_learning_rate_schedule`, `test_train.py::test_muon_turns_kernels_and_leaves_the_rest_to_adamw` |
# | **our choice**: the average of the weights over time (EMA) is what is kept; it removes the jitter of the last steps | `unires/train.py::fit` | `30_train_experts` | `test_train.py::test_killed_run_resumes_exactly` |
# | **our choice**: small crops first, larger ones at the end; most of a flaw is local, and small crops are cheap | `unires/config.py::Stage`, `unires/data.py::draw_crop` | `30_train_experts` | `test_data.py::test_batches_are_a_function_of_seed_and_step` |
# | **our choice**: several times and noises for each encoded pair, where `draws` asks for it: encoding is a good part of a cheap step | `unires/config.py::TrainConfig` | `30_train_experts` | `test_loss.py::test_several_draws_reuse_the_pair_with_fresh_noise` |
# | **our choice**: an autoencoder of our own for the small model; the public one is far too large for a laptop's minutes | `unires/models/vae.py::VAE`, `unires/loss.py::vae_loss` | `20_latents` | `test_models.py::test_vae_shapes_and_normalisation`, `test_loss.py::test_vae_loss_against_numpy` |
# | **our choice**: a linear path by cosine transform around it, so that training starts from a fair picture | `unires/models/vae.py::patch_basis` | `20_latents` | `test_models.py::test_patch_basis_is_orthonormal` |
# | **our choice**: each latent channel has its own shift and scale, measured after training | `unires/train.py::train_vae` | `20_latents` | `test_train.py::test_latents_are_normalised` |
# | **our choice**: prompts are words hashed to ids, with a small encoder trained along; five short prompts need no large vocabulary | `unires/models/text.py::tokenize` | `40_one_expert` | `test_models.py::test_tokens_are_stable_and_distinct` |
# | **our choice**: Stable Diffusion 2 in place of the paper's start, which was trained on private photos; a trained model goes out in the same layout | `unires/models/export.py::export`, `unires/models/settings.py::settings` | `25_paper_size` | `test_convert.py::test_round_trip_is_bit_exact`, `test_parity.py::test_diffusers_opens_what_we_export` |
# | **our choice**: experts of weight 0 are not asked; exact, and it saves their passes | `unires/compose.py::active` | `50_compose_experts` | `test_equations.py::test_one_hot_is_the_single_expert_bit_for_bit` |
# | **our choice**: many weights for one photo share the first step and one compiled program; exact, and the grid pays for a part of its calls | `unires/engine.py::Engine`, `unires/engine.py::unet_calls`, `unires/engine.py::pack` | `55_downlq` | `test_engine.py::test_batches_equal_a_naive_loop`, `test_engine.py::test_the_whole_grid_costs_what_the_formula_says`, `test_engine.py::test_packing_loses_nobody_and_hardly_a_row` |
# | **our choice**: a ledger of what was sampled and scored, on disk; no strategy and no restart pays twice | `unires/ledger.py::Ledger`, `unires/ledger.py::mix_of` | `85_metric_bias` | `test_ledger.py::test_a_torn_line_is_ignored`, `test_ledger.py::test_a_mix_does_not_depend_on_the_list` |
# | **our choice**: the weighted sum of the experts' own final latents ranks the grid, the best few are sampled one after another, and each one's error corrects the guesses near it; with $\sum_k w_k = 1$ the sum is right to first order | `unires/search.py::surrogate` | `65_cheaper_search` | `test_search.py::test_the_surrogate_is_exact_for_a_linear_network`, `test_search.py::test_the_corrected_surrogate_learns_where_it_was_wrong` |
# | **our choice**: scores have a name, a version and a direction, so that any of them can decide or watch | `unires/score.py::Score`, `unires/score.py::metric_score` | `85_metric_bias` | `test_search.py::test_a_score_has_a_name_and_a_direction`, `test_search.py::test_metrics_are_scores` |
# | **our choice**: a guard that holds the score to what the flawed photo shows at a quarter of its size; a score alone is gamed (Figure 12) | `unires/score.py::guarded` | `85_metric_bias` | `test_search.py::test_a_guard_prefers_what_agrees_with_the_flawed_photo` |
# | **our choice**: a judge fitted to the experts, which ranks restorations by the LPIPS that is to be expected, from seven photos at hand; it needs no reference (A.8 hopes for better judges) | `unires/judge.py::Judge`, `unires/judge.py::expected_lpips`, `benchmarks/fit_judge.py::fit` | `85_metric_bias` | `test_judge.py::test_a_judge_that_knows_the_place_ranks_as_lpips`, `test_judge.py::test_a_fitted_judge_finds_the_hidden_place` |
# | **our choice**: published scores of five photo pairs are repeated, and small corruptions of code and results must be noticed; a gate that nobody tested guards nothing | `benchmarks/calibration.py::published`, `benchmarks/mutations.py::mutate` | `90_report` | `test_calibration.py::test_published_scores`, `test_mutations.py::test_what_is_caught_and_what_is_not` |
# | **our choice**: large photos in overlapping tiles that share one noise field; memory stays bounded and no seam shows | `unires/restore.py::starts`, `unires/restore.py::feather` | `40_one_expert` | `test_restore.py::test_tiles_cover_everything`, `test_restore.py::test_tiles_leave_no_seam` |
# | **our choice**: wavelet colour as an alternative to AdaIN, where colours differ from place to place | `unires/colour.py::wavelet` | `40_one_expert` | `test_colour.py::test_wavelet_removes_a_cast` |
# | **our choice**: blur and photons in linear light, by a plain gamma of 2.2, because that is where they happen | `unires/degrade/codec.py::to_linear`, `unires/degrade/kernels.py::blur_light` | `10_photos_and_flaws` | `test_kernels.py::test_linear_light` |
# | **our choice**: synthetic flaws on photos that ship in Python packages, in place of DiversePhotos and the training sets, which cannot be shipped | `unires/data.py::evaluation_set`, `unires/data.py::evaluation_crops` | `10_photos_and_flaws` | `test_data.py::test_evaluation_sets_are_reproducible`, `test_data.py::test_evaluation_crops_follow_the_rule` |
# | **our choice**: a recipe beside every flawed photo that makes it again byte for byte | `unires/degrade/__init__.py::replay` | `10_photos_and_flaws` | `test_degrade.py::test_replay` |

# %% [markdown]
# ## One model, three sizes
#
# A **profile** is a size of the whole method: `smoke` for tests, `demo` for a laptop's processor, `paper` for the
# published settings. No class knows which profile it serves; only numbers change. JAX can run the constructor
# *abstractly*: it works out the shape of every array and allocates none. That is how a laptop counts the large
# model.

# %%
models = {name: LDM.abstract(size) for name, size in unires.profiles.PROFILES.items()}
parts = {"autoencoder": "vae", "UNet": "unet", "text encoder": "text"}
counts = pd.DataFrame(
    {name: {part: parameter_count(getattr(model, key)) for part, key in parts.items()} for name, model in models.items()}
)
counts.loc["total"] = counts.sum()
counts.style.format("{:,}").set_caption("learned numbers")

# %% [markdown]
# The check against the public world: the UNet of Stable Diffusion 2 has 865,910,724 parameters. UniRes
# concatenates $z_{LQ}$ to $z_t$, so the first convolution reads twice the channels and everything else stays. A
# convolution of 3 x 3 taps needs $3 \cdot 3 \cdot c_{in} \cdot c_{out}$ weights. The model here must therefore
# have exactly the public count plus what the four new input channels cost.

# %%
paper = unires.profiles.PROFILES["paper"]
grown = 3 * 3 * paper.vae.latent_channels * paper.unet.channels[0]
print(f"the first convolution grows by {grown:,}")
assert counts.loc["UNet", "paper"] == 865_910_724 + grown == 865_922_244

# %% [markdown]
# What each size was trained on, and how often it calls the UNet for one photo with one expert. (Any size can be restored:
# a large photo goes through the network in overlapping tiles.)

# %%
sizes = unires.profiles.PROFILES.values()
pd.DataFrame(
    {
        "pixels a side": [c.train.stages[-1].crop for c in sizes],
        "latent": [f"{c.train.stages[-1].crop // c.vae.factor}² x {c.vae.latent_channels}" for c in sizes],
        "DDIM steps": [c.sample.steps for c in sizes],
        "network guesses": [c.schedule.prediction for c in sizes],
        "checkpoint": [c.checkpoint or "none: random weights" for c in sizes],
    },
    index=[c.name for c in sizes],
)

# %% [markdown]
# This run uses the profile named in the parameters cell.

# %%
assert unires.profiles.PROFILES[profile] is config
print(f"profile {config.name}: test sets {', '.join(config.evaluation.sets)}")

# %% [markdown]
# ## What to try
#
# 1. Pick a row of the table, open its code and its proof side by side. What would you have to break in the code
#    for the test to fail? Break it and run `python -m pytest tests/test_equations.py`.
# 2. Make the demo UNet twice as wide with `dataclasses.replace` and count it abstractly. By which factor does the
#    count grow, and why not by two?
# 3. The experts share all weights. How many numbers would six separate networks need, and what could they not do
#    that Eq. 2 can?
# 4. Which rows marked *our choice* would you have chosen differently? Change one in `unires/profiles.py` and follow
#    it through the notebooks.
