/* A disk that strikes: loaded by LD_PRELOAD, it sees every durable step of a process below one folder, DuckDB's too.
 *
 * A step is one call that changes what a crash leaves behind: open for writing, write, pwrite, fsync, rename, link,
 * unlink, truncate, mkdir. `strike_arm` says which one to strike: the n-th call of `function` on a path that fits
 * `pattern` (fnmatch, relative to the folder). Unarmed, nothing happens; CALM only spares the disk. A report goes to a file descriptor: one line
 * "function<TAB>path" a step while recording, or one line for the strike.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum mode { OFF, CALM, RECORD, KILL_BEFORE, KILL_AFTER, TORN, FULL, BROKEN };
enum act { PASS, KILL_WHEN_DONE, HALF, FAIL };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static enum mode mode = OFF;
static char folder[PATH_MAX], function[32], pattern[PATH_MAX];
static long nth, seen;
static int report = -1, failing;

#define REAL(name) ({ static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name); real; })

void strike_arm(int how, const char *below, const char *which, const char *fits, long number, int report_to) {
    snprintf(folder, sizeof folder, "%s", below);
    snprintf(function, sizeof function, "%s", which);
    snprintf(pattern, sizeof pattern, "%s", fits);
    nth = number, seen = 0, failing = 0, report = report_to, mode = how;
}

static void tell(const char *name, const char *path) {
    char line[PATH_MAX + 64];
    int size = snprintf(line, sizeof line, "%s\t%s\n", name, path);
    if (REAL(write)(report, line, size) != size) abort();
}

static void die(void) { kill(getpid(), SIGKILL); for (;;) pause(); }

/* The path relative to the folder, or NULL where it lies elsewhere. */
static const char *inside(const char *path, char *space) {
    if (path[0] != '/') {
        char here[PATH_MAX];
        if (!getcwd(here, sizeof here)) return NULL;
        snprintf(space, PATH_MAX * 2, "%s/%s", here, path);
        path = space;
    }
    size_t size = strlen(folder);
    if (strncmp(path, folder, size) || path[size] != '/') return NULL;
    path += size + 1;
    while (!strncmp(path, "./", 2)) path += 2;
    return path;
}

static int fails_when_full(const char *name) {
    return strcmp(name, "unlink") && strcmp(name, "fsync") && strcmp(name, "rename");
}

/* What to do with this step. */
static enum act step(const char *name, const char *path) {
    char space[PATH_MAX * 2];
    if (mode <= CALM || !(path = inside(path, space))) return PASS;
    enum act act = PASS;
    pthread_mutex_lock(&lock);
    if (failing) {
        act = mode == BROKEN || fails_when_full(name) ? FAIL : PASS;
    } else if (mode == RECORD) {
        tell(name, path);
    } else if ((!strcmp(function, name) || !strcmp(function, "any")) && !fnmatch(pattern, path, 0) && ++seen == nth) {
        tell(name, path);
        if (mode == KILL_BEFORE) die();
        else if (mode == KILL_AFTER) act = KILL_WHEN_DONE;
        else if (mode == TORN) act = HALF;
        else failing = 1, act = mode == BROKEN || fails_when_full(name) ? FAIL : PASS;
    }
    pthread_mutex_unlock(&lock);
    return act;
}

static enum act step_of(const char *name, int fd) {
    char link[64], path[PATH_MAX];
    if (mode <= CALM) return PASS;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size <= 0 || path[0] != '/') return PASS;
    path[size] = 0;
    return step(name, path);
}

static int failed(void) { errno = mode == BROKEN ? EIO : ENOSPC; return -1; }

#define DONE(act, result) ({ __typeof__(result) done = (result); if ((act) == KILL_WHEN_DONE) die(); done; })
#define PLAIN(type, name, as, path, parameters, arguments)                                                             \
    type name parameters {                                                                                             \
        enum act act = step(as, path);                                                                                 \
        return act == FAIL ? failed() : DONE(act, REAL(name) arguments);                                               \
    }

PLAIN(int, rename, "rename", to, (const char *from, const char *to), (from, to))
PLAIN(int, link, "link", to, (const char *from, const char *to), (from, to))
PLAIN(int, linkat, "link", to, (int a, const char *from, int b, const char *to, int flags), (a, from, b, to, flags))
PLAIN(int, unlink, "unlink", path, (const char *path), (path))
PLAIN(int, remove, "unlink", path, (const char *path), (path))
PLAIN(int, rmdir, "unlink", path, (const char *path), (path))
PLAIN(int, unlinkat, "unlink", path, (int at, const char *path, int flags), (at, path, flags))
PLAIN(int, mkdir, "mkdir", path, (const char *path, mode_t bits), (path, bits))

int renameat(int a, const char *from, int b, const char *to) {
    enum act act = step("rename", to);
    return act == FAIL ? failed() : DONE(act, REAL(renameat)(a, from, b, to));
}

#define WRITES(flags) (((flags) & O_ACCMODE) != O_RDONLY && ((flags) & (O_CREAT | O_TRUNC)))
#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...) {                                                                       \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t bits = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                                        \
        va_end(rest);                                                                                                  \
        enum act act = WRITES(flags) ? step("open", path) : PASS;                                                      \
        return act == FAIL ? failed() : DONE(act, REAL(name)(path, flags, bits));                                      \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                                                   \
    int name(int at, const char *path, int flags, ...) {                                                               \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t bits = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                                        \
        va_end(rest);                                                                                                  \
        enum act act = WRITES(flags) ? step("open", path) : PASS;                                                      \
        return act == FAIL ? failed() : DONE(act, REAL(name)(at, path, flags, bits));                                  \
    }
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int fd, const void *bytes, size_t size) {
    enum act act = step_of("write", fd);
    if (act == FAIL) return failed();
    if (act == HALF) { REAL(write)(fd, bytes, size / 2); die(); }
    return DONE(act, REAL(write)(fd, bytes, size));
}

#define PWRITE(name, offset_type)                                                                                      \
    ssize_t name(int fd, const void *bytes, size_t size, offset_type at) {                                             \
        enum act act = step_of("write", fd);                                                                           \
        if (act == FAIL) return failed();                                                                              \
        if (act == HALF) { REAL(name)(fd, bytes, size / 2, at); die(); }                                               \
        return DONE(act, REAL(name)(fd, bytes, size, at));                                                             \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

/* A kill loses nothing that the kernel has, so while strikes are armed nobody waits for the disk. */
#define SYNC(name)                                                                                                     \
    int name(int fd) {                                                                                                 \
        enum act act = step_of("fsync", fd);                                                                           \
        if (act == FAIL) return failed();                                                                              \
        return DONE(act, mode == OFF ? REAL(name)(fd) : 0);                                                            \
    }
SYNC(fsync)
SYNC(fdatasync)

#define TRUNCATE(name, offset_type)                                                                                    \
    int name(int fd, offset_type size) {                                                                               \
        enum act act = step_of("truncate", fd);                                                                        \
        return act == FAIL ? failed() : DONE(act, REAL(name)(fd, size));                                               \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)
