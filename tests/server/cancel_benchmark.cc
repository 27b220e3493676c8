// Measures the time from a client's cancel to the end of the last step that still computed its
// sequence, over gRPC on loopback, alone and beside 31 other streams. A fake model with steps of 6
// ms stands in for mamba-130m, so the time is that of the path to the engine plus the step in
// progress.
#include <benchmark/benchmark.h>

#include <atomic>
#include <thread>

#include "tests/server/support.h"

namespace whipsnake::server {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kStep{6};

// A server with slow steps, which records when the watched sequence was last computed.
class SlowServer {
 public:
  SlowServer() : server_(Options()) {}

  v1::StreamGenerateRequest Endless(const std::string& prompt) const {
    v1::StreamGenerateRequest request;
    *request.mutable_parameters() = Greedy(prompt, std::numeric_limits<int32_t>::max());
    return request;
  }
  v1::GenerationService::Stub& stub() { return *server_.generation; }
  TestServer& server() { return server_; }
  Clock::time_point last_step() const { return last_step_.load(); }

 private:
  DaemonOptions Options() {
    DaemonOptions options = FakeOptions(engine_);
    options.loader = [this](const std::string& directory, const engine::ModelOptions& model,
                            engine::GenerationObserver* observer) {
      auto parts = engine_.Load(directory, model, observer);
      auto& fake = static_cast<engine::FakeModel&>(*parts->model);
      fake.before_forward = [this](std::span<const engine::Run> runs) {
        std::this_thread::sleep_for(kStep);
        for (const engine::Run& run : runs) {
          const auto& history = static_cast<engine::FakeState*>(run.state)->history;
          // The watched sequence begins with "z".
          if (!history.empty() && history.front() == 25) last_step_ = Clock::now();
        }
      };
      return parts;
    };
    return options;
  }

  FakeEngine engine_;
  std::atomic<Clock::time_point> last_step_{Clock::time_point()};
  TestServer server_;
};

void CancelToLastStep(benchmark::State& state) {
  SlowServer slow;
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::thread> others;
  for (int i = 1; i < state.range(0); ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    others.emplace_back([&slow, context = contexts.back().get()] {
      const auto reader = slow.stub().StreamGenerate(context, slow.Endless("a"));
      for (v1::StreamGenerateResponse event; reader->Read(&event);) continue;
      reader->Finish();
    });
  }
  double most = 0;
  for (auto _ : state) {
    grpc::ClientContext context;
    const auto reader = slow.stub().StreamGenerate(&context, slow.Endless("z"));
    v1::StreamGenerateResponse event;
    for (int i = 0; i < 5 && reader->Read(&event); ++i) continue;
    const Clock::time_point begin = Clock::now();
    context.TryCancel();
    while (reader->Read(&event)) continue;
    reader->Finish();
    std::this_thread::sleep_for(10 * kStep);  // any step after the cancel has ended by now
    const double seconds =
        std::max(0.0, std::chrono::duration<double>(slow.last_step() - begin).count());
    most = std::max(most, seconds);
    state.SetIterationTime(seconds);
  }
  state.counters["most_ms"] = 1000 * most;
  for (const auto& context : contexts) context->TryCancel();
  for (std::thread& other : others) other.join();
}
BENCHMARK(CancelToLastStep)
    ->ArgName("streams")
    ->Arg(1)
    ->Arg(32)
    ->UseManualTime()
    ->Iterations(50)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace whipsnake::server
