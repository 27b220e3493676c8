// Tests calls without gRPC, between their arrival and their start.
#include "server/rpc/generation_call.h"

#include <future>
#include <latch>

#include "tests/server/support.h"

namespace whipsnake::server {
namespace {

class GenerationCallTest : public testing::Test {
 protected:
  void SetUp() override {
    ModelSource source;
    source.name = "alphabet";
    ASSERT_TRUE(models_.Register(source).ok());
    ASSERT_TRUE(models_.Load("alphabet").ok());
  }

  GenerationCall NewCall() {
    return GenerationCall(environment_, engine::GenerationKind::kUnary, &context_);
  }
  static v1::GenerationParameters HeldTo(const std::string& regex) {
    v1::GenerationParameters parameters = Greedy("a", 4);
    parameters.mutable_structured()->set_regex(regex);
    return parameters;
  }
  static absl::Status Start(GenerationCall& call, const v1::GenerationParameters& parameters) {
    return call.Start(absl::OkStatus(), parameters, [] {});
  }
  // Whether the form is compiled.
  bool HasConstraint(const v1::GenerationParameters& parameters) {
    return models_.Acquire("")->constraints().Find(*ConstraintSpecOf(parameters.structured())) !=
           nullptr;
  }

  FakeEngine engine_;
  Metrics metrics_;
  engine::Ledger ledger_;
  ModelRegistry models_{engine_.Loader(), metrics_, nullptr};
  ActiveCalls active_calls_;
  StateStore states_{{}, &ledger_};
  LiveLimits limits_;
  TaskPool pool_{{.name = "compile", .max_waiting = 4}};
  const GenerationEnvironment environment_{&models_, &active_calls_, &states_, &limits_, &pool_};
  grpc::CallbackServerContext context_;
};

TEST_F(GenerationCallTest, ACallThatIsCancelledWhileItWaitsForThePoolIsNotStarted) {
  const v1::GenerationParameters parameters = HeldTo("[xy]z");
  std::promise<absl::Status> started;
  std::latch busy(1), release(1);
  const auto hold = [&] {
    busy.count_down();
    release.wait();
  };
  ASSERT_TRUE(pool_.Run("another", hold).ok());
  busy.wait();
  GenerationCall call = NewCall();
  ASSERT_TRUE(call.MustCompile(parameters));
  const auto start = [&] { started.set_value(Start(call, parameters)); };
  ASSERT_TRUE(pool_.Run(call.ClientOf(parameters), start).ok());
  call.Cancel();
  release.count_down();
  const absl::Status status = started.get_future().get();
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_EQ(call.EndWith(status).error_code(), grpc::CANCELLED);
  EXPECT_FALSE(HasConstraint(parameters)) << "nothing was compiled for it";
}

// Even if many other forms are compiled between the lookup and the start.
TEST_F(GenerationCallTest, AFormThatWasFoundIsNotCompiledAgain) {
  const v1::GenerationParameters parameters = HeldTo("[xy]z");
  const auto compile = [&](const v1::GenerationParameters& others) {
    ASSERT_TRUE(models_.Acquire("")
                    ->constraints()
                    .GetOrCompile(*ConstraintSpecOf(others.structured()))
                    .ok());
  };
  GenerationCall call = NewCall();
  ASSERT_TRUE(call.MustCompile(parameters));
  compile(parameters);
  ASSERT_FALSE(call.MustCompile(parameters));
  const auto most = static_cast<int>(engine::ConstraintCacheOptions().max_entries);
  for (int i = 0; i < most; ++i) compile(HeldTo("a{" + std::to_string(i + 1) + "}"));
  ASSERT_FALSE(HasConstraint(parameters));
  const absl::Status status = Start(call, parameters);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_FALSE(HasConstraint(parameters)) << "it was not compiled, which would have put it there";
}

// The form that was found belongs to its model, which must not be replaced before the start.
TEST_F(GenerationCallTest, AFormThatWasFoundKeepsItsModel) {
  const v1::GenerationParameters parameters = HeldTo("[xy]z");
  ASSERT_TRUE(models_.Acquire("")
                  ->constraints()
                  .GetOrCompile(*ConstraintSpecOf(parameters.structured()))
                  .ok());
  std::future<absl::Status> unloading;
  {
    GenerationCall call = NewCall();
    ASSERT_FALSE(call.MustCompile(parameters));
    unloading = std::async(std::launch::async, [&] { return models_.Unload("alphabet"); });
    while (models_.Get("alphabet")->state == ModelState::kReady) std::this_thread::yield();
    EXPECT_EQ(unloading.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
    EXPECT_TRUE(Start(call, parameters).ok());  // it has the model, which is freed after it
  }
  EXPECT_TRUE(unloading.get().ok());
}

}  // namespace
}  // namespace whipsnake::server
