"""What a training run leaves behind while it trains: metrics, checkpoints, sample answers."""

from typing import TYPE_CHECKING, Any

from minigpt.corpus.tokenizer import Tokenizer
from minigpt.corpus.vocab import SEP_ID
from minigpt.evaluation.baselines import guess
from minigpt.evaluation.metrics import exact_match
from minigpt.events import Report, SampleAnswer, Saved, StepDone, Validated
from minigpt.model.checkpoint import CheckpointInfo, save_checkpoint
from minigpt.model.generation import complete
from minigpt.model.runtime import Runtime
from minigpt.model.sampling import Sampler
from minigpt.services.curve import draw_curve
from minigpt.services.prepare import TrainingData, target_counts
from minigpt.services.run_directory import RunDirectory, machine
from minigpt.settings import Settings
from minigpt.training.validation import Validation

if TYPE_CHECKING:
    from minigpt.training.loop import Trainer

SAMPLE_TOKENS = 64
MATCHED = 100  # validation questions whose answers are compared with the expected ones
LINES_PER_RUN = 200  # of metrics.jsonl, for steps; validations each have their own


class RunRecorder:
    """Keeps a run in its directory; in other processes than the main one it does nothing."""

    def __init__(
        self,
        run: RunDirectory,
        settings: Settings,
        data: TrainingData,
        runtime: Runtime,
        report: Report,
    ) -> None:
        self.run = run
        self.settings = settings
        self.data = data
        self.runtime = runtime
        self.report = report
        self.tokenizer = Tokenizer(data.vocab)
        self._unigram = target_counts(data.train_set, data.vocab.size)
        self._recorded_step = 0

    def step_done(self, event: StepDone) -> None:
        """Record a step now and then."""
        due = event.step - self._recorded_step >= max(1, event.steps // LINES_PER_RUN)
        if not self.runtime.is_main or not due:
            return
        self._recorded_step = event.step
        values = {
            "loss": event.loss,
            "learning_rate": event.learning_rate,
            "tokens_per_s": round(event.tokens_per_s, 1),
        }
        self.run.append_metrics(
            {"kind": "step", "epoch": event.epoch, "step": event.step, **values}
        )
        names = {"loss": "Loss/step", "learning_rate": "Learning rate", "tokens_per_s": "Tokens/s"}
        self.run.add_scalars({names[k]: v for k, v in values.items()}, step=event.step)

    def validated(self, trainer: "Trainer", validation: Validation, *, is_best: bool) -> None:
        """Record a validation, keep the model if it is the best so far, and show some answers."""
        if not self.runtime.is_main:
            return
        state = trainer.state
        train_loss = state.epoch_nats / max(1, state.epoch_tokens)
        if is_best:
            save_checkpoint(
                self.run.best, trainer.model, self.data.vocab, self._info(trainer, validation)
            )
            self.report(Saved(self.run.best))
        samples, matches = self._answers(trainer)
        values = {
            "train_loss": train_loss,
            "val_loss": validation.all.loss,
            "val_loss_answer": validation.answer.loss,
            "val_accuracy": validation.all.accuracy,
            "val_accuracy_answer": validation.answer.accuracy,
            "exact_match": matches,
        }
        line: dict[str, Any] = {"kind": "validation", "epoch": state.epoch, "step": state.step}
        spent = {"tokens": state.tokens, "seconds": round(state.seconds, 3)}
        self.run.append_metrics({**line, **values, "best": is_best, **spent})
        shown = {
            "Loss/train": train_loss,
            "Loss/val": validation.all.loss,
            "Loss/val_answer": validation.answer.loss,
            "Accuracy/val": validation.all.accuracy,
            "Accuracy/val_answer": validation.answer.accuracy,
            "Exact match/val": matches,
        }
        self.run.add_scalars({k: v for k, v in shown.items() if v is not None}, step=state.step)
        self.report(
            Validated(
                epoch=state.epoch,
                epochs=trainer.settings.epochs,
                step=state.step,
                train_loss=train_loss,
                val_loss=validation.all.loss,
                val_loss_answer=validation.answer.loss,
                is_best=is_best,
                seconds=state.seconds,
                samples=samples,
            )
        )

    def save(self, trainer: "Trainer") -> None:
        """Write `last`: weights, moments and where training stands."""
        if not self.runtime.is_main:
            return
        save_checkpoint(
            self.run.last,
            trainer.model,
            self.data.vocab,
            self._info(trainer, None),
            training=trainer.tensors(),
            state={"state": trainer.state.to_json(), "machine": machine(self.runtime)},
        )
        self.report(Saved(self.run.last))

    def draw(self) -> None:
        """Draw the loss curve, if there is one and matplotlib is installed."""
        if self.runtime.is_main:
            guessed = guess(self.data.val_set, self._unigram)
            draw_curve(
                self.run,
                vocab_size=self.data.vocab.size,
                unigram=(guessed.all.loss, guessed.answer.loss),
                loss_on=self.settings.train.loss_on,
            )

    def close(self) -> None:
        """Close what is open."""
        self.run.close()

    def _info(self, trainer: "Trainer", validation: Validation | None) -> CheckpointInfo:
        return CheckpointInfo(
            step=trainer.state.step,
            epoch=trainer.state.epoch,
            max_length=trainer.settings.max_length,
            loss_on=trainer.settings.loss_on,
            val_loss=validation.all.loss if validation else None,
            val_loss_answer=validation.answer.loss if validation else None,
            data_sha256=self.data.train_set.sha256,
            unigram=self._unigram,
        )

    def _answers(self, trainer: "Trainer") -> tuple[tuple[SampleAnswer, ...], float | None]:
        """Greedy answers to the same few validation questions each time.

        Returns:
            Those to show, and the share of `MATCHED` that are word for word the expected ones;
            nothing where none are to be shown.
        """
        val_set, decode = self.data.val_set, self.tokenizer.decode
        shown = _spread(self.settings.train.show_samples, val_set.n_pairs)
        if not shown:
            return (), None
        matched = _spread(MATCHED, val_set.n_pairs)
        chosen = sorted({*shown, *matched})
        pairs = [val_set.pair(index).tolist() for index in chosen]
        lengths = val_set.prompt_lengths[chosen].tolist()
        was_training = trainer.model.training
        trainer.model.eval()
        completions = complete(
            trainer.model,
            [pair[:length] for pair, length in zip(pairs, lengths, strict=True)],
            sampler=Sampler(temperature=0),
            max_new_tokens=SAMPLE_TOKENS,
            stop_token_id=SEP_ID,
            context_length=trainer.settings.max_length,
            batch_size=len(pairs),
        )
        with self.runtime.uncompiled():
            answers = dict(completions)
        trainer.model.train(was_training)
        said = {
            number: SampleAnswer(
                decode(pair[: length - 1]), decode(answers[i].ids), decode(pair[length:-1])
            )
            for i, (number, pair, length) in enumerate(zip(chosen, pairs, lengths, strict=True))
        }
        right = sum(exact_match(said[i].answer, said[i].expected) for i in matched)
        return tuple(said[i] for i in shown), right / len(matched)


def _spread(count: int, total: int) -> list[int]:
    """Up to `count` numbers under `total`, evenly spread."""
    count = min(count, total)
    return [i * total // count for i in range(count)]
