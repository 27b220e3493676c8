// Saved states and several completions over gRPC, with fake models.
#include <algorithm>
#include <map>
#include <set>

#include "tests/server/support.h"
#include "whipsnake/v1/state.grpc.pb.h"

namespace whipsnake::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class StatesTest : public testing::Test {
 protected:
  StatesTest() {
    std::filesystem::remove_all(data_);
    options_ = FakeOptions(engine_);
  }

  TestServer& server() {
    if (!server_) server_.emplace(options_);
    return *server_;
  }
  std::unique_ptr<v1::StateService::Stub> states() {
    return v1::StateService::NewStub(server().channel);
  }

  v1::GenerateResponse Generate(const v1::GenerationParameters& parameters) {
    v1::GenerateRequest request;
    v1::GenerateResponse response;
    *request.mutable_parameters() = parameters;
    grpc::ClientContext context;
    status_ = server().generation->Generate(&context, request, &response);
    return response;
  }
  std::string TextOf(const v1::GenerationParameters& parameters) {
    const v1::GenerateResponse response = Generate(parameters);
    return response.completions_size() == 0 ? "" : response.completions(0).text();
  }
  std::vector<v1::StreamGenerateResponse> Stream(const v1::GenerationParameters& parameters) {
    v1::StreamGenerateRequest request;
    *request.mutable_parameters() = parameters;
    grpc::ClientContext context;
    const auto reader = server().generation->StreamGenerate(&context, request);
    std::vector<v1::StreamGenerateResponse> events;
    for (v1::StreamGenerateResponse event; reader->Read(&event);) events.push_back(event);
    status_ = reader->Finish();
    return events;
  }

  v1::State Save(const std::string& text, const std::string& state = "", bool on_disk = false) {
    v1::SaveStateRequest request;
    v1::SaveStateResponse response;
    if (!text.empty()) request.set_text(text);
    request.set_state(state);
    request.mutable_retention()->set_on_disk(on_disk);
    grpc::ClientContext context;
    status_ = states()->SaveState(&context, request, &response);
    usage_ = response.usage();
    return response.state();
  }
  v1::GetStateResponse Get(const std::string& handle) {
    v1::GetStateRequest request;
    v1::GetStateResponse response;
    request.set_handle(handle);
    grpc::ClientContext context;
    status_ = states()->GetState(&context, request, &response);
    return response;
  }
  void Delete(const std::string& handle) {
    v1::DeleteStateRequest request;
    v1::DeleteStateResponse response;
    request.set_handle(handle);
    grpc::ClientContext context;
    status_ = states()->DeleteState(&context, request, &response);
  }

  // A request that continues from a state, optionally with a text.
  static v1::GenerationParameters From(const std::string& state, const std::string& text,
                                       int max_new_tokens) {
    v1::GenerationParameters parameters = Greedy(text, max_new_tokens);
    if (text.empty()) parameters.clear_prompt();
    parameters.set_state(state);
    return parameters;
  }

  const std::filesystem::path data_ =
      std::filesystem::path(testing::TempDir()) / "states_test_data";
  FakeEngine engine_;
  DaemonOptions options_;
  std::optional<TestServer> server_;
  grpc::Status status_;
  v1::Usage usage_;
};

TEST_F(StatesTest, ASavedPromptIsContinuedManyTimes) {
  const v1::State state = Save("abc");
  ASSERT_TRUE(status_.ok()) << status_.error_message();
  EXPECT_EQ(state.model(), "alphabet");
  EXPECT_EQ(state.tokens(), 3);
  EXPECT_EQ(state.position(), 2);
  EXPECT_FALSE(state.on_disk());
  EXPECT_GT(state.expire_time().seconds(), state.create_time().seconds());
  for (int turn = 0; turn < 2; ++turn) {
    const v1::GenerateResponse response = Generate(From(state.handle(), "", 3));
    ASSERT_TRUE(status_.ok()) << status_.error_message();
    EXPECT_EQ(response.completions(0).text(), "def");
    EXPECT_EQ(response.usage().prompt_tokens(), 3);
    EXPECT_EQ(response.usage().cached_prompt_tokens(), 2);
  }
  EXPECT_EQ(TextOf(From(state.handle(), "xy", 3)), "zab");
}

TEST_F(StatesTest, AConversationGoesOnFromEachCompletionsEnd) {
  engine_.generator.cache.max_bytes = 0;
  v1::GenerationParameters first = Greedy("ab", 4);
  first.mutable_output()->mutable_save_state();
  const v1::GenerateResponse response = Generate(first);
  ASSERT_TRUE(status_.ok()) << status_.error_message();
  EXPECT_EQ(response.completions(0).text(), "cdef");
  const std::string handle = response.completions(0).state();
  EXPECT_EQ(Get(handle).state().tokens(), 6);
  // A stream returns the handle too.
  v1::GenerationParameters second = From(handle, "", 2);
  second.mutable_output()->mutable_save_state();
  const auto events = Stream(second);
  ASSERT_TRUE(status_.ok()) << status_.error_message();
  EXPECT_EQ(events.front().started().prompt_tokens(), 6);
  EXPECT_EQ(events.front().started().cached_prompt_tokens(), 5);
  EXPECT_EQ(events[1].delta().text().substr(0, 1), "g");
  ASSERT_EQ(events.back().finished().states_size(), 1);
  EXPECT_EQ(TextOf(From(events.back().finished().states(0), "", 1)), "i");
  // A state that is saved after another one continues it.
  const v1::State longer = Save("x", handle);
  ASSERT_TRUE(status_.ok()) << status_.error_message();
  EXPECT_EQ(longer.tokens(), 7);
  EXPECT_EQ(usage_.cached_prompt_tokens(), 5);
  EXPECT_EQ(TextOf(From(longer.handle(), "", 1)), "y");
}

TEST_F(StatesTest, AStopLeavesAStateThatWantsMoreText) {
  v1::GenerationParameters parameters = Greedy("a", 10);
  parameters.mutable_stopping()->add_stop_token_ids(4);  // "e"
  parameters.mutable_output()->mutable_save_state();
  const std::string handle = Generate(parameters).completions(0).state();
  const v1::State state = Get(handle).state();
  EXPECT_EQ(state.tokens(), 4);  // "abcd"
  EXPECT_EQ(state.position(), 4);
  Generate(From(handle, "", 1));
  EXPECT_EQ(FieldOf(status_), "parameters.prompt");
  EXPECT_EQ(TextOf(From(handle, "x", 2)), "yz");
}

TEST_F(StatesTest, ForksListsAndDeletes) {
  const std::string handle = Save("abc").handle();
  v1::ForkStateRequest fork;
  v1::ForkStateResponse forked;
  fork.set_handle(handle);
  fork.mutable_retention()->mutable_time_to_live()->set_seconds(60);
  {
    grpc::ClientContext context;
    ASSERT_TRUE(states()->ForkState(&context, fork, &forked).ok());
  }
  EXPECT_EQ(forked.state().expire_time().seconds() - forked.state().create_time().seconds(), 60);
  Save("d");
  std::vector<std::string> names;
  v1::ListStatesRequest list;
  list.set_page_size(2);
  do {
    grpc::ClientContext context;
    v1::ListStatesResponse page;
    ASSERT_TRUE(states()->ListStates(&context, list, &page).ok());
    for (const v1::State& state : page.states()) names.push_back(state.name());
    list.set_page_token(page.next_page_token());
  } while (!list.page_token().empty());
  EXPECT_EQ(names.size(), 3);
  EXPECT_THAT(server().Metrics(), HasSubstr("whipsnake_saved_states 3\n"));
  EXPECT_THAT(server().Metrics(), HasSubstr("whipsnake_saved_state_bytes{place=\"disk\"} 0\n"));
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
  Delete(handle);
  EXPECT_TRUE(status_.ok());
  Delete(handle);
  EXPECT_EQ(status_.error_code(), grpc::NOT_FOUND);
  Get(handle);
  EXPECT_EQ(status_.error_code(), grpc::NOT_FOUND);
  EXPECT_EQ(DetailOf<google::rpc::ResourceInfo>(status_)->resource_type(), "state");
  EXPECT_EQ(TextOf(From(forked.state().handle(), "", 1)), "d");
}

TEST_F(StatesTest, ADrainingServerForksAndDeletesNothing) {
  const std::string handle = Save("abc").handle();
  server().daemon->RequestDrain();
  Delete(handle);
  EXPECT_EQ(status_.error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(status_), "SERVER_DRAINING");
  v1::ForkStateRequest request;
  v1::ForkStateResponse response;
  request.set_handle(handle);
  grpc::ClientContext context;
  status_ = states()->ForkState(&context, request, &response);
  EXPECT_EQ(status_.error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(status_), "SERVER_DRAINING");
  EXPECT_TRUE(HasRetry(status_));
}

TEST_F(StatesTest, WhatIsOnDiskSurvivesTheServer) {
  options_.data = data_.string();
  const v1::State disk = Save("abc", "", true), memory = Save("abc");
  ASSERT_TRUE(disk.on_disk());
  server_.reset();
  EXPECT_EQ(TextOf(From(disk.handle(), "", 3)), "def");
  Generate(From(memory.handle(), "", 1));
  EXPECT_EQ(status_.error_code(), grpc::NOT_FOUND);
  EXPECT_EQ(ReasonOf(status_), "STATE_NOT_FOUND");

  // A different model with the same name does not continue it.
  server_.reset();
  engine_.digest = "another";
  Generate(From(disk.handle(), "", 3));
  EXPECT_EQ(status_.error_code(), grpc::FAILED_PRECONDITION);
  EXPECT_EQ(ReasonOf(status_), "STATE_OF_ANOTHER_MODEL");

  server_.reset();
  engine_.digest = "";
  std::filesystem::resize_file(data_ / "states" / (disk.name() + ".state"), 100);
  server();
  Generate(From(disk.handle(), "", 3));
  EXPECT_EQ(status_.error_code(), grpc::NOT_FOUND);
  EXPECT_TRUE(std::filesystem::exists(data_ / "states" / (disk.name() + ".state.corrupt")));
}

TEST_F(StatesTest, RefusesWhatItCannotKeep) {
  v1::GenerationParameters parameters = Greedy("a", 1);
  parameters.mutable_output()->mutable_save_state()->mutable_time_to_live()->set_seconds(-1);
  Generate(parameters);
  EXPECT_EQ(FieldOf(status_), "parameters.output.save_state.time_to_live");
  parameters.mutable_output()->mutable_save_state()->clear_time_to_live();
  parameters.mutable_output()->mutable_save_state()->set_on_disk(true);
  Generate(parameters);
  EXPECT_EQ(status_.error_code(), grpc::FAILED_PRECONDITION);
  EXPECT_EQ(ReasonOf(status_), "NO_DATA_DIRECTORY");
  Save("");
  EXPECT_EQ(FieldOf(status_), "prompt");
  v1::SaveStateRequest request;
  v1::SaveStateResponse response;
  request.set_text("a");
  request.mutable_retention()->mutable_time_to_live()->set_seconds(int64_t{1} << 50);
  grpc::ClientContext context;
  status_ = states()->SaveState(&context, request, &response);
  EXPECT_EQ(FieldOf(status_), "retention.time_to_live");
}

TEST_F(StatesTest, SeveralCompletionsOfOnePrompt) {
  v1::GenerationParameters parameters = Greedy("ab", 3);
  parameters.set_n(3);
  parameters.mutable_output()->set_echo(true);
  parameters.mutable_output()->mutable_save_state();
  const v1::GenerateResponse response = Generate(parameters);
  ASSERT_TRUE(status_.ok()) << status_.error_message();
  ASSERT_EQ(response.completions_size(), 3);
  EXPECT_EQ(response.usage().prompt_tokens(), 2);
  EXPECT_EQ(response.usage().generated_tokens(), 9);
  std::set<std::string> handles;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(response.completions(i).index(), i);
    EXPECT_EQ(response.completions(i).text(), "abcde");
    EXPECT_EQ(TextOf(From(response.completions(i).state(), "", 1)), "f");
    handles.insert(response.completions(i).state());
  }
  EXPECT_EQ(handles.size(), 3);

  std::map<int, std::string> texts;
  const auto events = Stream(parameters);
  for (const auto& event : events) {
    if (event.has_delta()) texts[event.delta().index()] += event.delta().text();
  }
  EXPECT_THAT(texts,
              ElementsAre(std::pair(0, "abcde"), std::pair(1, "abcde"), std::pair(2, "abcde")));
  EXPECT_EQ(events.back().finished().finish_reasons_size(), 3);
  EXPECT_EQ(events.back().finished().states_size(), 3);
}

TEST_F(StatesTest, AStructuredOutputIsHeldToItsForm) {
  v1::GenerationParameters parameters = Greedy("a", 4);
  parameters.mutable_structured()->set_regex("[xyz]{2}q");
  const v1::GenerateResponse response = Generate(parameters);
  ASSERT_TRUE(status_.ok()) << status_.error_message();
  EXPECT_TRUE(response.completions(0).text().ends_with("q"));
  EXPECT_EQ(response.completions(0).text().size(), 3);
  EXPECT_EQ(response.completions(0).finish_reason(), v1::FINISH_REASON_EOS);
  parameters.mutable_structured()->set_json_schema(R"({"not": {"type": "null"}})");
  Generate(parameters);
  EXPECT_EQ(FieldOf(status_), "parameters.structured.json_schema.not");
}

TEST_F(StatesTest, WhatDoesNotLimitAStructuredOutputIsNamed) {
  v1::GenerationParameters parameters = Greedy("a", 4);
  parameters.mutable_structured()->set_json_schema(R"({"type": "null", "x-unit": "metre"})");
  const std::string warning =
      "structured.json_schema.x-unit: an unknown keyword, which does not limit the output";
  const v1::GenerateResponse response = Generate(parameters);
  ASSERT_TRUE(status_.ok()) << status_.error_message();
  EXPECT_EQ(response.completions(0).text(), "null");
  EXPECT_THAT(response.resolved().warnings(), ElementsAre(warning));
  EXPECT_THAT(Stream(parameters).front().started().resolved().warnings(), ElementsAre(warning));
}

// At this temperature the letters are drawn almost uniformly, and their logprobs differ.
TEST_F(StatesTest, TheBestAreThoseWithTheHighestMeanLogprob) {
  v1::GenerationParameters parameters = Greedy("a", 4);
  parameters.mutable_sampling()->set_temperature(8);
  parameters.mutable_sampling()->set_seed(3);
  parameters.set_n(8);
  parameters.mutable_output()->set_logprobs(0);
  const v1::GenerateResponse all = Generate(parameters);
  ASSERT_TRUE(status_.ok()) << status_.error_message();
  std::vector<std::pair<double, std::string>> expected;
  for (const v1::Completion& completion : all.completions()) {
    double sum = 0;
    for (const auto& token : completion.logprobs()) sum += token.chosen().logprob();
    expected.emplace_back(sum, completion.text());
  }
  std::ranges::stable_sort(expected, std::greater(), [](const auto& item) { return item.first; });
  parameters.set_n(3);
  parameters.set_best_of(8);
  parameters.mutable_output()->clear_logprobs();
  const v1::GenerateResponse best = Generate(parameters);
  ASSERT_EQ(best.completions_size(), 3);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(best.completions(i).text(), expected[i].second);
    EXPECT_EQ(best.completions(i).index(), i);
    EXPECT_EQ(best.completions(i).logprobs_size(), 0);
  }
  EXPECT_EQ(best.usage().generated_tokens(), 32);
}

TEST_F(StatesTest, ASharedBeginningIsReadOnce) {
  engine_.generator.batching.prefill_chunk_tokens = 8;
  engine_.generator.cache.interval_tokens = 8;
  const std::string text = "abcdefghijklmnopqrst";
  EXPECT_EQ(Generate(Greedy(text + "a", 1)).usage().cached_prompt_tokens(), 0);
  EXPECT_EQ(Generate(Greedy(text + "b", 1)).usage().cached_prompt_tokens(), 16);
  const std::string metrics = server().Metrics();
  EXPECT_THAT(metrics, HasSubstr("whipsnake_state_cache_lookups_total{model=\"alphabet\","
                                 "result=\"hit\"} 1\n"));
  EXPECT_THAT(metrics, HasSubstr("whipsnake_state_cache_lookups_total{model=\"alphabet\","
                                 "result=\"miss\"} 1\n"));
  EXPECT_THAT(metrics, HasSubstr("whipsnake_cached_prompt_tokens_total{model=\"alphabet\"} 16\n"));
  EXPECT_THAT(metrics, HasSubstr("whipsnake_state_slots_used{model=\"alphabet\"} 0\n"));
  EXPECT_THAT(metrics, HasSubstr("whipsnake_state_slots_limit{model=\"alphabet\"} 64\n"));
}

}  // namespace
}  // namespace whipsnake::server
