/* Records what a process writes to the files of one folder, for LD_PRELOAD: every write, truncation, sync and removal in
   its order, with the bytes, goes to the file $RECORDED_LOG; the files of $RECORDED_FOLDER are those that count.

   A record: kind (1 byte: w, t, s or u), length of the name, offset, length of the data (8 bytes each), name, data.

   It also makes the folder fail while a file of that name is in it: "fail-eio" (writes and syncs fail), "fail-full"
   (writes find no space), "fail-readonly" (nothing may change, as after a remount), "fail-slow" (a sync takes two
   seconds); not for the file "acknowledged". */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;

static ssize_t real_write(int fd, const void *data, size_t size) {
    static ssize_t (*call)(int, const void *, size_t);
    if (!call) call = dlsym(RTLD_NEXT, "write");
    return call(fd, data, size);
}

/* The name of an open file within the folder, or NULL. */
static const char *name_of(int fd, char *buffer) {
    const char *folder = getenv("RECORDED_FOLDER");
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, buffer, PATH_MAX - 1);
    if (!folder || length < 0) return NULL;
    buffer[length] = 0;
    size_t prefix = strlen(folder);
    if (strncmp(buffer, folder, prefix) || buffer[prefix] != '/') return NULL;
    return buffer + prefix + 1;
}

static int is_failing(const char *how) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", getenv("RECORDED_FOLDER"), how);
    return access(path, F_OK) == 0;
}

static void record(char kind, const char *name, uint64_t offset, const void *data, uint64_t size) {
    const char *log = getenv("RECORDED_LOG");
    uint64_t head[3] = {strlen(name), offset, size};
    if (!log) return;
    pthread_mutex_lock(&lock);
    if (log_fd < 0) log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (real_write(log_fd, &kind, 1) != 1 || real_write(log_fd, head, sizeof head) != sizeof head
        || real_write(log_fd, name, head[0]) != (ssize_t)head[0]
        || (size && real_write(log_fd, data, size) != (ssize_t)size)) abort();
    pthread_mutex_unlock(&lock);
}

static int refuses(const char *name) {
    if (!name || !strcmp(name, "acknowledged")) return 0;
    if (is_failing("fail-eio")) return EIO;
    if (is_failing("fail-readonly")) return EROFS;
    return is_failing("fail-full") ? ENOSPC : 0;
}

#define WRITE_AT(function)                                                                       \
    ssize_t function(int fd, const void *data, size_t size, off64_t offset) {                    \
        static ssize_t (*call)(int, const void *, size_t, off64_t);                              \
        char buffer[PATH_MAX];                                                                   \
        const char *name = name_of(fd, buffer);                                                  \
        int error = refuses(name);                                                               \
        if (!call) call = dlsym(RTLD_NEXT, #function);                                           \
        if (error) { errno = error; return -1; }                                                 \
        ssize_t done = call(fd, data, size, offset);                                             \
        if (name && done > 0) record('w', name, (uint64_t)offset, data, (uint64_t)done);         \
        return done;                                                                             \
    }
WRITE_AT(pwrite)
WRITE_AT(pwrite64)

ssize_t write(int fd, const void *data, size_t size) {
    char buffer[PATH_MAX];
    const char *name = name_of(fd, buffer);
    off_t offset = name ? lseek(fd, 0, SEEK_CUR) : 0;
    int error = refuses(name);
    if (error) { errno = error; return -1; }
    ssize_t done = real_write(fd, data, size);
    if (name && done > 0) record('w', name, (uint64_t)offset, data, (uint64_t)done);
    return done;
}

#define SYNC(function)                                                                           \
    int function(int fd) {                                                                       \
        static int (*call)(int);                                                                 \
        char buffer[PATH_MAX];                                                                   \
        const char *name = name_of(fd, buffer);                                                  \
        if (!call) call = dlsym(RTLD_NEXT, #function);                                           \
        if (name && is_failing("fail-eio")) { errno = EIO; return -1; }                          \
        if (name && is_failing("fail-readonly")) { errno = EROFS; return -1; }                   \
        if (name && is_failing("fail-slow")) sleep(2);                                           \
        int done = call(fd);                                                                     \
        if (name && !done) record('s', name, 0, NULL, 0);                                        \
        return done;                                                                             \
    }
SYNC(fsync)
SYNC(fdatasync)

#define TRUNCATE(function)                                                                       \
    int function(int fd, off64_t size) {                                                         \
        static int (*call)(int, off64_t);                                                        \
        char buffer[PATH_MAX];                                                                   \
        const char *name = name_of(fd, buffer);                                                  \
        if (!call) call = dlsym(RTLD_NEXT, #function);                                           \
        if (name && is_failing("fail-readonly")) { errno = EROFS; return -1; }                   \
        int done = call(fd, size);                                                               \
        if (name && !done) record('t', name, (uint64_t)size, NULL, 0);                           \
        return done;                                                                             \
    }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

int unlink(const char *path) {
    static int (*call)(const char *);
    const char *folder = getenv("RECORDED_FOLDER");
    size_t prefix = folder ? strlen(folder) : 0;
    if (!call) call = dlsym(RTLD_NEXT, "unlink");
    int is_ours = folder && !strncmp(path, folder, prefix) && path[prefix] == '/';
    if (is_ours && is_failing("fail-readonly")) { errno = EROFS; return -1; }
    int done = call(path);
    if (is_ours && !done)
        record('u', path + prefix + 1, 0, NULL, 0);
    return done;
}
