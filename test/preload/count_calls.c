/*
 * Counts a process's host name look-ups, threads and sockets: preloaded (ld.so(8), LD_PRELOAD), it
 * appends a letter to the file named by COUNT_CALLS for each call, `d` for getaddrinfo(), `t` for
 * pthread_create() and `s` for socket().
 *
 * It also resolves three names itself: two-addresses.test is 127.0.0.2 and then 127.0.0.1, nobody.test
 * is not known, and hangs.test is never answered.
 *
 * Its monotonic clocks run ahead of the system's by as many milliseconds as the file named by CLOCK_AHEAD
 * has bytes, so that a test need not wait for a minute to pass.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int file = -1;
static char *ahead;

__attribute__((constructor)) static void open_file(void)
{
    const char *name = getenv("COUNT_CALLS");

    /* A copy: NGINX writes its title over the environment. */
    if (getenv("CLOCK_AHEAD") != NULL) {
        ahead = strdup(getenv("CLOCK_AHEAD"));
    }
    if (name != NULL) {
        file = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    }
}

static void count(const char *letter)
{
    if (file != -1 && write(file, letter, 1) != 1) {
        abort();
    }
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **result)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    struct addrinfo *last;
    int error;

    count("d");
    *(void **) &real = dlsym(RTLD_NEXT, "getaddrinfo");

    if (node != NULL && strcmp(node, "hangs.test") == 0) {
        for (;;) {
            pause();
        }
    }
    if (node != NULL && strcmp(node, "nobody.test") == 0) {
        return EAI_NONAME;
    }
    if (node == NULL || strcmp(node, "two-addresses.test") != 0) {
        return real(node, service, hints, result);
    }

    error = real("127.0.0.2", service, hints, result);
    if (error == 0) {
        for (last = *result; last->ai_next != NULL; last = last->ai_next) {
            /* find the end */
        }
        error = real("127.0.0.1", service, hints, &last->ai_next);
    }
    return error;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                   void *argument)
{
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

    count("t");
    *(void **) &real = dlsym(RTLD_NEXT, "pthread_create");
    return real(thread, attributes, start, argument);
}

int socket(int domain, int type, int protocol)
{
    int (*real)(int, int, int);

    count("s");
    *(void **) &real = dlsym(RTLD_NEXT, "socket");
    return real(domain, type, protocol);
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    struct stat status;
    int error = (int) syscall(SYS_clock_gettime, clock, time);

    if (error == 0
        && (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_RAW || clock == CLOCK_MONOTONIC_COARSE)
        && ahead != NULL && stat(ahead, &status) == 0)
    {
        time->tv_sec += status.st_size / 1000;
        time->tv_nsec += status.st_size % 1000 * 1000000;
        if (time->tv_nsec >= 1000000000) {
            time->tv_nsec -= 1000000000;
            time->tv_sec++;
        }
    }
    return error;
}
