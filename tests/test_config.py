"""The three profiles: known by name, and free of settings that contradict each other."""

import dataclasses

import pytest

from unires.config import Config, Stage, TrainConfig, VAEConfig
from unires.profiles import CONTROLS, KNOWN, PAPER, PROFILES, profile
from unires.schedule import Schedule
from unires.tasks import BR, DOWNLQ, EXPERTS, NAMES, SR, TASKS

each_profile = pytest.mark.parametrize("config", PROFILES.values(), ids=PROFILES.keys())


def multiple(config: Config) -> int:
    """Photo sides must divide by this: the autoencoder's factor times the UNet's."""
    return config.vae.factor * 2 ** (len(config.unet.channels) - 1)


@pytest.mark.parametrize("name", ["smoke", "demo", "paper"])
def test_profiles_are_found_by_name(name):
    assert profile(name).name == name


@pytest.mark.parametrize("name", ["Demo", "", "large"])
def test_unknown_profile_is_refused(name):
    with pytest.raises(ValueError, match=r"smoke.*demo.*paper") as refusal:
        profile(name)
    assert repr(name) in str(refusal.value)


def test_a_control_differs_in_its_tasks_alone():
    control, short = profile("demo_sr_only"), profile("demo_short")
    assert control.train.tasks == ("SR",) and short.train.tasks == ("SR", "MD", "DD", "DN")
    same = dataclasses.replace(control.train, tasks=short.train.tasks)
    places = {"name": short.name, "checkpoint": short.checkpoint, "start": short.start}
    assert dataclasses.replace(control, **places, train=same) == short
    assert (
        profile("demo_sr_only_base").train.tasks == ("SR",) and control.start == profile("demo_sr_only_base").checkpoint
    )


@pytest.mark.parametrize("name", [name for name in KNOWN if profile(name).start])
def test_what_is_fine_tuned_keeps_its_autoencoder(name):
    tuned = profile(name)
    assert not tuned.train_vae.stages and tuned.train.stages
    for base in (one for one in CONTROLS.values() if one.checkpoint == tuned.start):  # none: a public one
        assert base.train_vae.stages and base.start is None
        sizes = [(one.vae, one.unet, one.text, one.schedule, one.train.tasks) for one in (base, tuned)]
        assert sizes[0] == sizes[1]


def test_the_short_control_differs_in_its_training_alone():
    short, demo = profile("demo_short"), profile("demo")
    assert dataclasses.replace(short, name="demo", checkpoint="demo", train=demo.train) == demo != short


def test_the_regression_control_asks_at_pure_noise_alone():
    control, short = profile("demo_regression"), profile("demo_short")
    assert (control.drop_text, control.drop_image, control.words) == (1, 0, 0)
    asked = Schedule.make(control.schedule).grid(control.train.sampler_steps, control.sample.spacing)
    assert asked.tolist() == [control.schedule.steps - 1] and control.train.sampler_share == 1
    assert (control.unet, control.vae, control.start) == (short.unet, short.vae, short.start)
    crops = [[(stage.crop, stage.batch, stage.steps) for stage in one.train.stages] for one in (control, short)]
    assert crops[0] == crops[1] and not any(stage.perceptual for stage in control.train.stages)


def test_settings_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        profile("demo").drop_text = 0.5


def test_steps_add_up_over_the_stages():
    assert TrainConfig(stages=(Stage(64, 8, 300), Stage(128, 4, 50)), learning_rate=1e-3).steps == 350


@pytest.mark.parametrize("levels, factor", [(1, 1), (3, 4), (4, 8)])
def test_factor_counts_the_halvings(levels, factor):
    assert VAEConfig((8,) * levels, (8,) * levels, latent_channels=4).factor == factor


@each_profile
def test_sizes_fit_each_other(config):
    vae, unet, text = config.vae, config.unet, config.text
    assert len(vae.encoder_channels) == len(vae.decoder_channels)
    assert all(c % vae.groups == 0 for c in (*vae.encoder_channels, *vae.decoder_channels))
    assert len(unet.channels) == len(unet.attention)
    assert all(c % unet.groups == 0 and c % unet.head_dim == 0 for c in unet.channels)
    assert text.width % text.heads == 0


@each_profile
def test_crops_and_tiles_fit_the_network(config):
    stages = (*config.train_vae.stages, *config.train.stages)
    sides = [stage.crop for stage in stages] + [config.evaluation.crop, config.sample.tile]
    assert sides and all(side % multiple(config) == 0 for side in sides)
    assert 0 < config.sample.overlap < config.sample.tile / 2


@each_profile
def test_sampler_and_schedule_can_be_made(config):
    times = Schedule.make(config.schedule).grid(config.sample.steps, config.sample.spacing)
    assert len(times) == config.sample.steps


def test_few_steps_begin_with_noise():
    """One step of "leading" would ask at t = 1, of a latent that is pure noise."""
    sample, schedule = PROFILES["paper"].sample, Schedule.make(PROFILES["paper"].schedule)
    assert sample.spacing == sample.spacing_of(50) == "leading" and schedule.grid(1, "leading")[0] == 1
    assert {int(schedule.grid(n, sample.spacing_of(n))[0]) for n in (1, 2, 26, 49)} == {999}


def test_what_the_paper_gives():
    """Section 3: prompts, probabilities, dropped conditions, learning rate, steps and batch."""
    assert [(t.name, t.prompt, t.probability) for t in TASKS] == [
        ("SR", "Super-resolution", 0.32),
        ("MD", "Motion-deblur", 0.28),
        ("DD", "Defocus-deblur", 0.18),
        ("DN", "Denoise", 0.22),
    ]
    assert NAMES == ("BR", "SR", "MD", "DD", "DN", "DownLQ")
    assert BR.prompt == "" and (DOWNLQ.prompt, DOWNLQ.factor) == (SR.prompt, 4)
    assert [e.factor for e in EXPERTS if e is not DOWNLQ] == [1] * 5
    assert (PAPER.drop_image, PAPER.drop_text) == (0.1, 0.1)
    assert PAPER.train.learning_rate == 8e-5
    assert [(s.crop, s.batch, s.steps) for s in PAPER.train.stages] == [(512, 256, 200_000)]
    assert PAPER.schedule.prediction == "eps"


def test_probabilities_sum_to_one():
    assert sum(task.probability for task in TASKS) == pytest.approx(1, abs=1e-12)
