// The time that a client has to read a message.
#ifndef WHIPSNAKE_SERVER_RPC_UNREAD_TIMEOUT_H_
#define WHIPSNAKE_SERVER_RPC_UNREAD_TIMEOUT_H_

#include <functional>
#include <utility>

namespace whipsnake::server {

// Says when the time of a stream's client begins and ends, once there is nothing more to wait for
// but the client. It is that of each message that is being written, so a client that reads has all
// the time that a long rest takes, and one that does not read is found out by one message. Time in
// which the server prepares the next message is not the client's. Not thread-safe.
class UnreadTimeout {
 public:
  // `start` begins the time anew, `call_off` ends it.
  UnreadTimeout(std::function<void()> start, std::function<void()> call_off)
      : start_(std::move(start)), call_off_(std::move(call_off)) {}

  // What the stream tells of has ended: from here on the time counts.
  void OnEnded() {
    if (!std::exchange(ended_, true) && writing_) start_();
  }
  void OnWriting() {
    writing_ = true;
    if (ended_) start_();
  }
  void OnWritten() {
    writing_ = false;
    if (ended_) call_off_();
  }

 private:
  const std::function<void()> start_, call_off_;
  bool ended_ = false;
  bool writing_ = false;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_UNREAD_TIMEOUT_H_
