// The limit of the size of a request, which the server enforces and the client knows.
#ifndef WHIPSNAKE_SERVER_REQUEST_SIZE_H_
#define WHIPSNAKE_SERVER_REQUEST_SIZE_H_

namespace whipsnake::server {

inline constexpr int kMaxRequestBytes = 4 << 20;

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_REQUEST_SIZE_H_
