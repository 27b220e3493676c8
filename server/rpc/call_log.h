// One line of the log for each RPC, written when it is over, and what ties the line to the client's
// view of the call: the request's id and the trace.
#ifndef WHIPSNAKE_SERVER_RPC_CALL_LOG_H_
#define WHIPSNAKE_SERVER_RPC_CALL_LOG_H_

#include <grpcpp/support/server_interceptor.h>

#include <memory>
#include <string>
#include <vector>

namespace whipsnake::server {

// Metadata in which a client may send a request's id, and W3C's Trace Context. The server returns
// both in the trailing metadata; it generates an id for calls without one.
inline constexpr const char* kRequestIdMetadata = "x-request-id";
inline constexpr const char* kTraceParentMetadata = "traceparent";

// For ServerBuilder::experimental().SetInterceptorCreators. Of every call, of whatever method:
// - gives the CallContext its CallRecord, before the handler runs;
// - adds the id and the trace to the trailing metadata, and google.rpc.RequestInfo to the details
//   of an error, when the status is sent;
// - logs it when it is over, on one of gRPC's threads, which may block as the log may. The kinds of
//   lines, "request finished", "request cancelled", "request refused" (the client's or the load's
//   fault) and "request failed" (the server's fault), have a limit each for every method
//   (LogLimited).
// `services` are the full names of the services; calls of other methods have the method "unknown".
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeCallLog(
    const std::vector<std::string>& services);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_CALL_LOG_H_
