#include "engine/finetune/training_checkpoint.h"

#include <sys/resource.h>

#include <csignal>
#include <limits>
#include <map>
#include <memory>
#include <vector>

#include "engine/base/digest.h"
#include "engine/finetune/checkpoint_store.h"
#include "tests/engine/finetune/training_fixture.h"

namespace whipsnake::engine {
namespace {

namespace fs = std::filesystem;
using Code = absl::StatusCode;
using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr char kCrrelu[] = "tests/goldens/training/crrelu";
constexpr char kRelu[] = "tests/goldens/training/relu";

// Four batches of five sequences with different lengths.
std::vector<TrainingBatch> SomeBatches() {
  std::vector<TrainingBatch> batches(4);
  int32_t token = 1;
  for (TrainingBatch& batch : batches) {
    for (int length = 3; length < 8; ++length) {
      std::vector<int32_t>& sequence = batch.examples.emplace_back().sequences.emplace_back();
      for (int i = 0; i < length; ++i) sequence.push_back(token = token * 29 % 89);
    }
  }
  return batches;
}

// A model, its batches and its trainer.
struct TrainingRun {
  std::unique_ptr<TrainableModel> model;
  std::unique_ptr<GivenBatches> batches;
  std::unique_ptr<Trainer> trainer;

  // The bytes of all parameters, their rounded copies and moments, and the number of updates.
  std::map<std::string, std::string> Values() {
    std::map<std::string, std::string> values;
    const auto add = [&](const std::string& name, std::span<const std::byte> bytes) {
      values[name] = std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    };
    for (const TrainableParameter& parameter : model->parameters().all()) {
      add(parameter.name, parameter.value.bytes());
      add(parameter.name + " rounded", parameter.rounded.bytes());
      values[parameter.name + " step"] = std::to_string(trainer->optimizer().step(parameter));
    }
    trainer->optimizer().Visit(add);
    return values;
  }
  // The log without times.
  std::string Results() const {
    RunLog log = trainer->log();
    for (StepRecord& record : log.steps) record.seconds = 0;
    for (EvaluationRecord& record : log.evaluations) record.seconds = 0;
    return ToJson(log).dump();
  }
};

class CheckpointTest : public TrainingFixture {
 protected:
  TrainingRun NewRun(const TrainingOptions& options = {}, const std::string& directory = kCrrelu) {
    TrainingRun run;
    run.model =
        Load(directory, {.arithmetic = options.arithmetic, .dropout = options.dropout, .seed = 7});
    run.batches = std::make_unique<GivenBatches>(SomeBatches());
    auto trainer =
        Trainer::Create(run.model.get(), run.batches.get(), options, {&executor_, &ledger_});
    EXPECT_THAT(trainer, IsOk());
    run.trainer = *std::move(trainer);
    return run;
  }
  static void Train(TrainingRun& run, int steps) {
    for (int i = 0; i < steps; ++i) ASSERT_THAT(run.trainer->Step(), IsOk());
  }

  CheckpointStore Store() {
    auto store = CheckpointStore::Open(directory_ / "run");
    EXPECT_THAT(store, IsOk());
    return *std::move(store);
  }
  // Changes the state of a checkpoint, and its digest with it.
  template <typename Change>
  static void ChangeState(const std::string& path, const Change& change) {
    json state = json::parse(ReadBytes(path))["state"];
    change(state);
    Digest digest;
    digest.Add(state.dump());
    WriteBytes(path, "{\"digest\":\"" + digest.text() + "\",\n\"state\":" + state.dump() + "}\n");
  }
  std::string File(int step, const std::string& name) const {
    return directory_ / ("run/step-0000000" + std::to_string(step) + "/" + name);
  }
  // Trains a run to each of these steps and saves it there.
  TrainingRun SavedAt(CheckpointStore& store, const std::vector<int>& steps) {
    TrainingRun run = NewRun();
    for (const int step : steps) {
      Train(run, step - static_cast<int>(run.trainer->step()));
      EXPECT_THAT(store.Save(*run.trainer, identity_, {}, /*keep=*/0), IsOk());
    }
    return run;
  }

  const TemporaryDirectory directory_;
  RunIdentity identity_{.settings = R"({"learning_rate": 5e-05, "seed": 1})",
                        .training_data = "aa",
                        .evaluation_data = "bb",
                        .model = "cc",
                        .labels = {"no", "yes"}};
};

TrainingOptions ManySteps() {
  TrainingOptions options;
  options.learning_rate = 1e-3;
  options.epochs = 5;
  return options;
}

TEST_F(CheckpointTest, RestoresEveryBit) {
  TrainingOptions codes = ManySteps(), sgd = ManySteps(), plain = ManySteps(), bf16 = ManySteps();
  codes.optimizer.moments = MomentKind::k8Bit;
  sgd.optimizer.kind = plain.optimizer.kind = OptimizerKind::kSgd;
  plain.optimizer.momentum = 0;
  bf16.arithmetic = kernels::DType::kBF16;
  const std::vector<double> reference = {-12.25, -0.1, -1e-300};
  int number = 0;
  for (const TrainingOptions& options : {ManySteps(), codes, sgd, plain, bf16}) {
    SCOPED_TRACE(number);
    const std::string path = directory_ / std::to_string(number++);
    TrainingRun run = NewRun(options);
    GivenBatches evaluation(SomeBatches());
    ASSERT_THAT(run.trainer->Evaluate(evaluation), IsOk());
    Train(run, 3);
    ASSERT_THAT(TrainingCheckpoint::Write(*run.trainer, identity_, reference, path), IsOk());

    TrainingRun restored = NewRun(options);
    const auto checkpoint = TrainingCheckpoint::Open(path);
    ASSERT_THAT(checkpoint, IsOk());
    EXPECT_EQ(checkpoint->step(), 3);
    EXPECT_EQ(checkpoint->reference(), reference);
    EXPECT_NE(restored.Values(), run.Values());
    ASSERT_THAT(checkpoint->Restore(identity_, *restored.trainer, &ledger_), IsOk());
    EXPECT_EQ(restored.Values(), run.Values());
    EXPECT_EQ(restored.trainer->step(), 3);
    EXPECT_EQ(ToJson(restored.trainer->log()), ToJson(run.trainer->log())) << "times too";
  }
}

TEST_F(CheckpointTest, ContinuesAsIfItHadNotStopped) {
  for (const MomentKind moments : {MomentKind::kKeep, MomentKind::k8Bit}) {
    TrainingOptions options = ManySteps();
    options.optimizer.moments = moments;
    options.micro_batch = 2;
    options.warmup = 0.3;
    options.dropout = 0.2f;
    options.seed = 3;
    const std::string path = directory_ / std::string(Name(moments));
    TrainingRun whole = NewRun(options), first = NewRun(options), second = NewRun(options);
    Train(whole, 10);
    Train(first, 5);
    ASSERT_THAT(TrainingCheckpoint::Write(*first.trainer, identity_, {}, path), IsOk());
    const auto checkpoint = TrainingCheckpoint::Open(path);
    ASSERT_THAT(checkpoint, IsOk());
    ASSERT_THAT(checkpoint->Restore(identity_, *second.trainer, &ledger_), IsOk());
    Train(second, 5);
    EXPECT_EQ(second.Values(), whole.Values());
    EXPECT_EQ(second.Results(), whole.Results());
    EXPECT_NE(first.Results(), whole.Results());
  }
}

constexpr SchedulerKind kSchedulers[] = {SchedulerKind::kStaticTop,  SchedulerKind::kRandom,
                                         SchedulerKind::kRoundRobin, SchedulerKind::kSlimFit,
                                         SchedulerKind::kLisa,       SchedulerKind::kBAdam,
                                         SchedulerKind::kMisa};

// Freezes most layers, with choices that last beyond a checkpoint after step 5.
TrainingOptions Freezing(SchedulerKind scheduler, FreezingRecipe recipe, MomentKind moments) {
  TrainingOptions options = ManySteps();
  options.freezing = *Resolve({.scheduler = scheduler, .recipe = recipe});
  if (scheduler != SchedulerKind::kBAdam) options.freezing.rate = 0.6;
  options.freezing.switch_every = 3;
  options.optimizer.moments = moments;
  options.compression =
      recipe == FreezingRecipe::kPublished ? Compression::kPublished : Compression::k8Bit;
  options.warmup = 0.3;
  options.dropout = 0.2f;
  options.seed = 3;
  return options;
}

TEST_F(CheckpointTest, ContinuesWithEveryScheduler) {
  int number = 0;
  for (const SchedulerKind scheduler : kSchedulers) {
    for (const FreezingRecipe recipe : {FreezingRecipe::kDefault, FreezingRecipe::kPublished}) {
      for (const MomentKind moments : {MomentKind::kKeep, MomentKind::k8Bit, MomentKind::kDrop}) {
        SCOPED_TRACE(std::string(Name(scheduler)) + " " + std::string(Name(recipe)) + " " +
                     std::string(Name(moments)));
        const TrainingOptions options = Freezing(scheduler, recipe, moments);
        const std::string path = directory_ / std::to_string(number++);
        TrainingRun whole = NewRun(options), first = NewRun(options), second = NewRun(options);
        Train(whole, 12);
        Train(first, 5);
        ASSERT_THAT(TrainingCheckpoint::Write(*first.trainer, identity_, {}, path), IsOk());
        const auto checkpoint = TrainingCheckpoint::Open(path);
        ASSERT_THAT(checkpoint, IsOk());
        ASSERT_THAT(checkpoint->Restore(identity_, *second.trainer, &ledger_), IsOk());
        EXPECT_EQ(second.trainer->scheduler().State(), first.trainer->scheduler().State());
        Train(second, 7);
        EXPECT_EQ(second.Values(), whole.Values());
        EXPECT_EQ(second.Results(), whole.Results());
        EXPECT_EQ(second.trainer->scheduler().State(), whole.trainer->scheduler().State());
      }
    }
  }
}

TEST_F(CheckpointTest, ADamagedStateOfTheSchedulerIsNamed) {
  const TrainingOptions options =
      Freezing(SchedulerKind::kMisa, FreezingRecipe::kDefault, MomentKind::kKeep);
  const std::string path = directory_ / "misa", file = path + "/state.json";
  TrainingRun run = NewRun(options);
  Train(run, 2);
  ASSERT_THAT(TrainingCheckpoint::Write(*run.trainer, identity_, {}, path), IsOk());
  const std::string good = ReadBytes(file);
  const auto expect_refused = [&](const std::string& message, const auto& change) {
    ChangeState(file, [&](json& state) { change(state["scheduler"]); });
    const auto checkpoint = TrainingCheckpoint::Open(path);
    ASSERT_THAT(checkpoint, IsOk());
    TrainingRun other = NewRun(options);
    const auto before = other.Values();
    const json scheduler = other.trainer->scheduler().State();
    EXPECT_THAT(checkpoint->Restore(identity_, *other.trainer, &ledger_),
                Fails(Code::kDataLoss, file + ": scheduler." + message));
    EXPECT_EQ(other.Values(), before);
    EXPECT_EQ(other.trainer->scheduler().State(), scheduler);
    EXPECT_EQ(other.trainer->step(), 0);
    fs::remove(file);
    WriteBytes(file, good);
  };
  expect_refused("scheduler: nothing seen, expected misa", [](json& state) { state = nullptr; });
  expect_refused("scheduler: \"lisa\" seen", [](json& state) { state["scheduler"] = "lisa"; });
  expect_refused("layers: ", [](json& state) { state["layers"] = 3; });
  expect_refused("averages: ", [](json& state) { state["averages"].erase(0); });
  expect_refused("active[1]: 7 seen", [](json& state) { state["active"][1] = 7; });
  expect_refused("last_draw: nothing seen", [](json& state) { state.erase("last_draw"); });
}

TEST_F(CheckpointTest, OfARunThatHasNotBegunHasNoMoments) {
  const std::string path = directory_ / "zero";
  TrainingRun run = NewRun(), restored = NewRun();
  ASSERT_THAT(TrainingCheckpoint::Write(*run.trainer, identity_, {}, path), IsOk());
  const auto checkpoint = TrainingCheckpoint::Open(path);
  ASSERT_THAT(checkpoint, IsOk());
  EXPECT_EQ(checkpoint->step(), 0);
  ASSERT_THAT(checkpoint->Restore(identity_, *restored.trainer, &ledger_), IsOk());
  EXPECT_EQ(restored.Values(), run.Values());
}

TEST_F(CheckpointTest, DroppedMomentsAreNotInIt) {
  TrainingOptions options = ManySteps();
  options.optimizer.moments = MomentKind::kDrop;
  const std::string path = directory_ / "dropped";
  TrainingRun run = NewRun(options), restored = NewRun(options);
  Train(run, 2);
  run.trainer->optimizer().Drop(run.model->parameters().all().front());
  ASSERT_THAT(TrainingCheckpoint::Write(*run.trainer, identity_, {}, path), IsOk());
  const auto checkpoint = TrainingCheckpoint::Open(path);
  ASSERT_THAT(checkpoint, IsOk());
  ASSERT_THAT(checkpoint->Restore(identity_, *restored.trainer, &ledger_), IsOk());
  EXPECT_EQ(restored.Values(), run.Values());
  Train(run, 2);
  Train(restored, 2);
  EXPECT_EQ(restored.Values(), run.Values());
}

TEST_F(CheckpointTest, NamesWhatDiffersInAnotherRun) {
  CheckpointStore store = Store();
  SavedAt(store, {1});
  const auto checkpoint = store.Load(1);
  ASSERT_THAT(checkpoint, IsOk());
  const auto message = [&](const auto& change) {
    TrainingRun run = NewRun();
    const auto before = run.Values();
    RunIdentity identity = identity_;
    change(identity);
    const absl::Status status = checkpoint->Restore(identity, *run.trainer, &ledger_);
    EXPECT_EQ(status.code(), Code::kFailedPrecondition);
    EXPECT_EQ(run.Values(), before);
    return std::string(status.message());
  };
  EXPECT_EQ(message([](RunIdentity& i) { i.settings = R"({"learning_rate": 1e-4, "seed": 1})"; }),
            "learning_rate: 5e-05 in the checkpoint, 0.0001 now");
  EXPECT_EQ(message([](RunIdentity& i) { i.settings = R"({"seed": 2, "dropout": 0.5})"; }),
            "dropout: nothing in the checkpoint, 0.5 now; "
            "learning_rate: 5e-05 in the checkpoint, nothing now; "
            "seed: 1 in the checkpoint, 2 now");
  EXPECT_EQ(message([](RunIdentity& i) { i.training_data = "dd"; }),
            R"(training_data: "aa" in the checkpoint, "dd" now)");
  EXPECT_EQ(message([](RunIdentity& i) { i.evaluation_data = ""; }),
            R"(evaluation_data: "bb" in the checkpoint, "" now)");
  EXPECT_EQ(message([](RunIdentity& i) { i.model = "dd"; }),
            R"(model: "cc" in the checkpoint, "dd" now)");
  EXPECT_EQ(message([](RunIdentity& i) {
              i.labels = {"yes", "no"};
            }),
            R"(labels: ["no","yes"] in the checkpoint, ["yes","no"] now)");
  EXPECT_THAT(checkpoint->CheckIdentity(identity_), IsOk());
  identity_.settings = "[]";
  EXPECT_THAT(checkpoint->CheckIdentity(identity_), Fails(Code::kInvalidArgument, "settings"));
}

TEST_F(CheckpointTest, NamesTheTensorThatTheTrainerHasNot) {
  TrainingOptions codes = ManySteps();
  codes.optimizer.moments = MomentKind::k8Bit;
  TrainingRun crrelu = NewRun(ManySteps()), relu = NewRun(ManySteps(), kRelu);
  Train(crrelu, 1);
  Train(relu, 1);
  const std::string with = directory_ / "with", without = directory_ / "without";
  ASSERT_THAT(TrainingCheckpoint::Write(*crrelu.trainer, identity_, {}, with), IsOk());
  ASSERT_THAT(TrainingCheckpoint::Write(*relu.trainer, identity_, {}, without), IsOk());
  const auto expect_refused = [&](const std::string& path, TrainingRun run, const std::string& file,
                                  const std::string& tensor) {
    const auto checkpoint = TrainingCheckpoint::Open(path);
    ASSERT_THAT(checkpoint, IsOk());
    const auto before = run.Values();
    const absl::Status status = checkpoint->Restore(identity_, *run.trainer, &ledger_);
    EXPECT_THAT(status, Fails(Code::kDataLoss, file));
    EXPECT_THAT(status, Fails(Code::kDataLoss, tensor));
    EXPECT_EQ(run.Values(), before);
  };
  expect_refused(with, NewRun(ManySteps(), kRelu), "with/model.safetensors",
                 "tensor \"transformer.h.0.mlp.act.lr\" seen, expected none");
  expect_refused(without, NewRun(ManySteps()), "without/model.safetensors",
                 "tensor \"transformer.h.0.mlp.act.lr\": nothing seen, expected F32 [1]");
  expect_refused(with, NewRun(codes), "with/optimizer.safetensors",
                 "tensor \"transformer.h.0.attn.c_attn.bias.m\": F32 [48] seen, expected I8 [48]");
}

TEST_F(CheckpointTest, RefusesNumbersThatAreNotFinite) {
  TrainingRun run = NewRun();
  const std::vector<double> reference = {-1, -std::numeric_limits<double>::infinity()};
  EXPECT_THAT(
      TrainingCheckpoint::Write(*run.trainer, identity_, reference, directory_ / "infinite"),
      Fails(Code::kInvalidArgument, "reference[1]: -Infinity seen"));
  EXPECT_EQ(directory_.entries(), 0);
}

TEST_F(CheckpointTest, OfAnotherVersionIsNotDamaged) {
  CheckpointStore store = Store();
  SavedAt(store, {1});
  ChangeState(File(1, "state.json"), [](json& state) { state["version"] = 1; });
  std::vector<std::string> warnings;
  EXPECT_THAT(store.Latest(warnings), Fails(Code::kUnimplemented, "version: 1 seen, expected 2"));
  EXPECT_THAT(*store.List(), ElementsAre(1));
}

TEST_F(CheckpointTest, FindsEveryDamage) {
  CheckpointStore store = Store();
  SavedAt(store, {1});
  for (const char* name : {"model.safetensors", "optimizer.safetensors", "state.json"}) {
    SCOPED_TRACE(name);
    const std::string path = File(1, name), good = ReadBytes(path);
    const auto expect_damaged = [&](std::string_view bytes) {
      fs::remove(path);  // as a file that is mapped must not be overwritten
      WriteBytes(path, bytes);
      EXPECT_THAT(store.Load(1), Fails(Code::kDataLoss, path));
    };
    for (size_t at = 0; at < good.size(); at += 1 + good.size() / 97) {
      std::string bad = good;
      bad[at] ^= 1 << at % 8;
      expect_damaged(bad);
    }
    for (const size_t size : {size_t{0}, size_t{7}, good.size() / 2, good.size() - 1}) {
      expect_damaged(good.substr(0, size));
    }
    expect_damaged(good + " ");
    fs::remove(path);
    EXPECT_THAT(store.Load(1), Fails(Code::kDataLoss, path));
    fs::create_directory(path);
    EXPECT_THAT(store.Load(1), Fails(Code::kDataLoss, path));
    fs::remove(path);
    WriteBytes(path, good);
    EXPECT_THAT(store.Load(1), IsOk());
  }
}

TEST_F(CheckpointTest, TheLatestIsTheNewestThatIsNotDamaged) {
  CheckpointStore store = Store();
  std::vector<std::string> warnings;
  auto latest = store.Latest(warnings);
  ASSERT_THAT(latest, IsOk());
  EXPECT_FALSE(latest->has_value());

  TrainingRun run = SavedAt(store, {1, 2, 3});
  fs::remove(File(3, "state.json"));
  fs::resize_file(File(2, "model.safetensors"), 100);
  latest = store.Latest(warnings);
  ASSERT_THAT(latest, IsOk());
  ASSERT_TRUE(latest->has_value());
  EXPECT_EQ((*latest)->step(), 1);
  EXPECT_THAT(
      warnings,
      ElementsAre(HasSubstr("step-00000003/state.json: No such file or directory; renamed to "
                            "step-00000003.damaged-1"),
                  HasSubstr("step-00000002/model.safetensors: ")));
  EXPECT_THAT(*store.List(), ElementsAre(1));
  EXPECT_TRUE(fs::exists(directory_ / "run/step-00000002.damaged-1"));

  ASSERT_THAT(store.Save(*run.trainer, identity_, {}, /*keep=*/0), IsOk()) << "anew";
  fs::remove(File(3, "state.json"));
  ASSERT_THAT(store.Latest(warnings), IsOk());
  EXPECT_TRUE(fs::exists(directory_ / "run/step-00000003.damaged-2"));
}

TEST_F(CheckpointTest, IsNeverOverwritten) {
  CheckpointStore store = Store();
  TrainingRun run = SavedAt(store, {1});
  const std::string before = ReadBytes(File(1, "state.json"));
  EXPECT_THAT(store.Save(*run.trainer, identity_, {}, /*keep=*/1),
              Fails(Code::kAlreadyExists, "step-00000001"));
  EXPECT_EQ(ReadBytes(File(1, "state.json")), before);
}

TEST_F(CheckpointTest, OldOnesAreRemovedAndOtherEntriesAreNot) {
  CheckpointStore store = Store();
  SavedAt(store, {1, 2, 3});
  for (const char* name : {"step-4", "step-0000000a", "step-00000001.damaged-1", "notes"}) {
    fs::create_directory(directory_ / "run/" + name);
  }
  fs::rename(directory_ / "run/step-00000003", directory_ / "run/step-00000009");
  TrainingRun run = NewRun();
  Train(run, 5);
  ASSERT_THAT(store.Save(*run.trainer, identity_, {}, /*keep=*/2), IsOk());
  EXPECT_THAT(*store.List(), ElementsAre(2, 5, 9)) << "9 is later than the last, so it is not old";
  ASSERT_THAT(store.Save(*NewRun().trainer, identity_, {}, /*keep=*/1), IsOk());
  EXPECT_THAT(*store.List(), ElementsAre(0, 2, 5, 9));
  for (const char* name : {"step-4", "step-0000000a", "step-00000001.damaged-1", "notes"}) {
    EXPECT_TRUE(fs::exists(directory_ / "run/" + name)) << name;
  }
}

// A limit on the file size makes writing fail half-way, as a full disk does.
TEST_F(CheckpointTest, AFullDiskLeavesTheLastOne) {
  CheckpointStore store = Store();
  TrainingRun run = SavedAt(store, {1});
  Train(run, 1);
  const auto previous = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &limit), 0);
  const rlim_t model = fs::file_size(File(1, "model.safetensors"));
  for (const rlim_t bytes : {model / 2, model + 1000}) {
    const rlimit small{bytes, limit.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    const absl::Status status = store.Save(*run.trainer, identity_, {}, /*keep=*/1);
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(*store.List(), ElementsAre(1));
    EXPECT_EQ(std::distance(fs::directory_iterator(directory_ / "run"), {}), 2) << "and the lock";
  }
  std::signal(SIGXFSZ, previous);
  std::vector<std::string> warnings;
  ASSERT_THAT(store.Latest(warnings), IsOk());
  EXPECT_THAT(warnings, IsEmpty());
  EXPECT_THAT(store.Save(*run.trainer, identity_, {}, /*keep=*/1), IsOk());
  EXPECT_THAT(*store.List(), ElementsAre(2));
}

TEST_F(CheckpointTest, TheDirectoryIsOfOneProcess) {
  const std::string expected = "run: in use by process " + std::to_string(getpid());
  {
    const CheckpointStore store = Store();
    EXPECT_THAT(CheckpointStore::Open(directory_ / "run"),
                Fails(Code::kFailedPrecondition, expected));
  }
  EXPECT_THAT(CheckpointStore::Open(directory_ / "run/"), IsOk());
  EXPECT_THAT(CheckpointStore::Open(directory_ / "no/parent"), Fails(Code::kNotFound, "no/parent"));
  WriteBytes(directory_ / "file", "x");
  EXPECT_FALSE(CheckpointStore::Open(directory_ / "file").ok());
}

TEST_F(CheckpointTest, MomentsThatDoNotFitLeaveTheTrainerAsItWas) {
  CheckpointStore store = Store();
  SavedAt(store, {1});
  const auto checkpoint = store.Load(1);
  ASSERT_THAT(checkpoint, IsOk());
  TrainingRun run = NewRun();
  const auto before = run.Values();
  Ledger small(10000);
  EXPECT_THAT(checkpoint->Restore(identity_, *run.trainer, &small),
              Fails(Code::kResourceExhausted, "moments"));
  EXPECT_EQ(run.Values(), before);
  EXPECT_EQ(small.used(), 0);
}

}  // namespace
}  // namespace whipsnake::engine
