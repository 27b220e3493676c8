// Converts jobs of the kind "quantization" to messages.
#ifndef WHIPSNAKE_SERVER_RPC_QUANTIZATION_MESSAGES_H_
#define WHIPSNAKE_SERVER_RPC_QUANTIZATION_MESSAGES_H_

#include "server/jobs/job.h"
#include "whipsnake/v1/model.pb.h"

namespace whipsnake::server {

v1::Quantization ToQuantization(const Job& job);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_QUANTIZATION_MESSAGES_H_
