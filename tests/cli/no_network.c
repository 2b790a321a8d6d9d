/* Preloaded into a process: what would leave the machine is refused, and written to the file that ASKED names. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void note(const char *call, const char *what) {
  char line[512];
  int length = snprintf(line, sizeof line, "%s %s: %s\n", program_invocation_short_name, call, what ? what : "");
  int file = open(getenv("ASKED"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (file < 0 || write(file, line, length) != length) abort();
  close(file);
}

/* Sockets of processes of this machine, and of its kernel, reach nobody. */
static int leaves(const struct sockaddr *to) {
  return to != NULL && (to->sa_family == AF_INET || to->sa_family == AF_INET6);
}

int connect(int socket, const struct sockaddr *to, socklen_t length) {
  if (!leaves(to)) return ((int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "connect"))(socket, to, length);
  note("connect", "");
  errno = ENETUNREACH;
  return -1;
}

ssize_t sendto(int socket, const void *data, size_t size, int flags, const struct sockaddr *to, socklen_t length) {
  typedef ssize_t (*Real)(int, const void *, size_t, int, const struct sockaddr *, socklen_t);
  if (!leaves(to)) return ((Real)dlsym(RTLD_NEXT, "sendto"))(socket, data, size, flags, to, length);
  note("sendto", "");
  errno = ENETUNREACH;
  return -1;
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
  (void)service, (void)hints, (void)found;
  note("getaddrinfo", name);
  return EAI_FAIL;
}

struct hostent *gethostbyname(const char *name) {
  note("gethostbyname", name);
  return NULL;
}
