/* A disk that loses what was not synced, and that can be told to fail.
 *
 * Preloaded into a process (LD_PRELOAD) it watches what that process does below DISK_ROOT:
 *
 * DISK_SHADOW  A directory on the same volume. A sync does not go to the real disk; it copies what
 *              is synced to here: inodes/N is the file with inode number N as of its last sync,
 *              dirs/N the names in the directory N as of its last sync. That is what a power cut
 *              leaves. What is unlinked is kept in grave/, so that no inode number comes twice.
 * DISK_CONTROL While this file is there operations fail: "ERRNO KIND FIRST TIMES". From the
 *              FIRST operation of the KIND on, TIMES operations (0: all) fail with ERRNO; 0 for
 *              ERRNO kills the process instead. Each failure adds an octet to DISK_CONTROL.hits.
 *              Writing another file of that name starts the count again.
 *              w  writes and new names          g  of these, what makes a file or directory grow
 *              s  syncs                         c  everything that would change the volume
 * DISK_BOOT    Is read in place of the boot id, which a power cut changes.
 *
 * As on Linux, what a failed sync should have written is lost though the process can still read
 * it: a later sync that succeeds does not write it, unless it was written again.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define BLOCK 4096
#define LOST_FILES 64

static char root[PATH_MAX], shadow[PATH_MAX], control[PATH_MAX], boot[PATH_MAX];
static size_t root_length;
static int between_processes = -1;
static pthread_mutex_t between_threads = PTHREAD_MUTEX_INITIALIZER;

static struct fault {
    struct timespec written;
    ino_t inode;
    int error;
    char kind;
    long first, times, seen;
} fault;

static struct lost {
    ino_t inode;
    size_t blocks;
    unsigned char *is_lost;
} lost[LOST_FILES];
static volatile int lost_files;

#define REAL(name)                                                              \
    ({                                                                          \
        static __typeof__(&name) found;                                         \
        if (found == NULL)                                                      \
            found = (__typeof__(&name))dlsym(RTLD_NEXT, #name);                 \
        found;                                                                  \
    })

/* The shim's own work goes around the functions that it replaces. */

static int own_open(const char *path, int flags, mode_t mode)
{
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, mode);
}

static void own_write(int descriptor, const void *octets, size_t length)
{
    while (length > 0) {
        ssize_t written = syscall(SYS_write, descriptor, octets, length);
        if (written <= 0)
            abort();
        octets = (const char *)octets + written;
        length -= (size_t)written;
    }
}

static void own_rename(const char *from, const char *to)
{
    if (syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0) != 0)
        abort();
}

static void take(char *target, const char *variable)
{
    const char *value = getenv(variable);
    if (value != NULL && strlen(value) < PATH_MAX)
        strcpy(target, value);
}

__attribute__((constructor)) static void begin(void)
{
    take(shadow, "DISK_SHADOW");
    take(control, "DISK_CONTROL");
    take(boot, "DISK_BOOT");
    take(root, "DISK_ROOT");
    root_length = strlen(root);
    if (*shadow) {
        char path[PATH_MAX + 16];
        snprintf(path, sizeof path, "%s/lock", shadow);
        between_processes = own_open(path, O_RDWR | O_CREAT, 0600);
    }
}

static void lock(void)
{
    pthread_mutex_lock(&between_threads);
    if (between_processes >= 0)
        while (flock(between_processes, LOCK_EX) != 0 && errno == EINTR)
            ;
}

static void unlock(void)
{
    int error = errno;
    if (between_processes >= 0)
        flock(between_processes, LOCK_UN);
    pthread_mutex_unlock(&between_threads);
    errno = error;
}

static int is_below(const char *path)
{
    return root_length > 0 && strncmp(path, root, root_length) == 0
        && (path[root_length] == '/' || path[root_length] == '\0');
}

static int descriptor_is_below(int descriptor)
{
    char link[64], path[PATH_MAX];
    int error = errno;
    ssize_t length = -1;
    if (root_length > 0) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
        length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    }
    errno = error;
    if (length < 0)
        return 0;
    path[length] = '\0';
    return is_below(path);
}

static int name_is_below(int directory, const char *path)
{
    if (path == NULL)
        return 0;
    if (path[0] == '/')
        return is_below(path);
    if (directory != AT_FDCWD)
        return descriptor_is_below(directory);
    char here[PATH_MAX];
    return root_length > 0 && getcwd(here, sizeof here) != NULL && is_below(here);
}

/* Faults */

static int read_control(void)
{
    struct stat status;
    if (!*control || fstatat(AT_FDCWD, control, &status, 0) != 0)
        return 0;
    if (status.st_ino == fault.inode && status.st_mtim.tv_sec == fault.written.tv_sec
        && status.st_mtim.tv_nsec == fault.written.tv_nsec)
        return 1;
    char text[128];
    int descriptor = own_open(control, O_RDONLY, 0);
    ssize_t length = descriptor < 0 ? -1 : read(descriptor, text, sizeof text - 1);
    if (descriptor >= 0)
        close(descriptor);
    if (length <= 0)
        return 0;
    text[length] = '\0';
    memset(&fault, 0, sizeof fault);
    if (sscanf(text, "%d %c %ld %ld", &fault.error, &fault.kind, &fault.first, &fault.times) != 4)
        abort();
    fault.inode = status.st_ino;
    fault.written = status.st_mtim;
    return 1;
}

static void note_hit(void)
{
    char path[PATH_MAX + 16];
    snprintf(path, sizeof path, "%s.hits", control);
    int descriptor = own_open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    own_write(descriptor, ".", 1);
    close(descriptor);
}

/* The error that an operation of these kinds meets now, or 0. The lock is held. */
static int strikes(const char *kinds)
{
    int before = errno, error = 0;
    if (read_control() && strchr(kinds, fault.kind) != NULL) {
        fault.seen++;
        if (fault.seen >= fault.first
            && (fault.times == 0 || fault.seen < fault.first + fault.times)) {
            note_hit();
            if (fault.error == 0) {
                kill(getpid(), SIGKILL);
                pause();
            }
            error = fault.error;
        }
    }
    errno = before;
    return error;
}

static int refused(const char *kinds)
{
    lock();
    int error = strikes(kinds);
    unlock();
    if (error)
        errno = error;
    return error;
}

/* What a failed sync loses */

static struct lost *lost_of(ino_t inode)
{
    for (int i = 0; i < lost_files; i++)
        if (lost[i].inode == inode)
            return &lost[i];
    return NULL;
}

static void inode_path(char *path, const char *folder, ino_t inode)
{
    snprintf(path, PATH_MAX + 64, "%s/%s/%llu", shadow, folder, (unsigned long long)inode);
}

static int open_synced(ino_t inode)
{
    char path[PATH_MAX + 64];
    inode_path(path, "inodes", inode);
    return own_open(path, O_RDONLY, 0);
}

static void lose(int descriptor, const struct stat *status)
{
    struct lost *file = lost_of(status->st_ino);
    if (file == NULL) {
        if (lost_files == LOST_FILES)
            abort();
        file = &lost[lost_files];
        memset(file, 0, sizeof *file);
        file->inode = status->st_ino;
        lost_files++;
    }
    size_t blocks = ((size_t)status->st_size + BLOCK - 1) / BLOCK;
    if (blocks > file->blocks) {
        file->is_lost = realloc(file->is_lost, blocks);
        memset(file->is_lost + file->blocks, 0, blocks - file->blocks);
        file->blocks = blocks;
    }
    int synced = open_synced(status->st_ino);
    for (size_t i = 0; i < blocks; i++) {
        char now[BLOCK] = {0}, then[BLOCK] = {0};
        ssize_t length = pread(descriptor, now, BLOCK, (off_t)(i * BLOCK));
        ssize_t before = synced < 0 ? 0 : pread(synced, then, BLOCK, (off_t)(i * BLOCK));
        if (length != before || memcmp(now, then, BLOCK) != 0)
            file->is_lost[i] = 1;
    }
    if (synced >= 0)
        close(synced);
}

static void written_again(int descriptor, off_t offset, size_t length)
{
    struct stat status;
    if (lost_files == 0 || length == 0 || fstat(descriptor, &status) != 0)
        return;
    lock();
    struct lost *file = lost_of(status.st_ino);
    size_t last = ((size_t)offset + length - 1) / BLOCK;
    if (file != NULL)
        for (size_t i = (size_t)offset / BLOCK; i <= last && i < file->blocks; i++)
            file->is_lost[i] = 0;
    unlock();
}

/* What a sync keeps */

static void keep_file(int descriptor, const struct stat *status)
{
    char draft[PATH_MAX + 64], path[PATH_MAX + 64], block[BLOCK];
    snprintf(draft, sizeof draft, "%s/draft", shadow);
    inode_path(path, "inodes", status->st_ino);
    int copy = own_open(draft, O_RDWR | O_CREAT | O_TRUNC, status->st_mode & 07777);
    struct lost *file = lost_of(status->st_ino);
    int synced = file == NULL ? -1 : open_synced(status->st_ino);
    if (copy < 0)
        abort();
    for (size_t i = 0;; i++) {
        ssize_t length = pread(descriptor, block, BLOCK, (off_t)(i * BLOCK));
        if (length < 0)
            abort();
        if (length == 0)
            break;
        if (file != NULL && i < file->blocks && file->is_lost[i]) {
            memset(block, 0, BLOCK);
            if (synced >= 0 && pread(synced, block, BLOCK, (off_t)(i * BLOCK)) < 0)
                abort();
        }
        own_write(copy, block, (size_t)length);
    }
    if (synced >= 0)
        close(synced);
    close(copy);
    own_rename(draft, path);
}

static void keep_names(const char *directory, const struct stat *status)
{
    char draft[PATH_MAX + 64], path[PATH_MAX + 64], line[NAME_MAX + 64];
    snprintf(draft, sizeof draft, "%s/draft", shadow);
    inode_path(path, "dirs", status->st_ino);
    int copy = own_open(draft, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    DIR *entries = opendir(directory);
    if (copy < 0 || entries == NULL)
        abort();
    for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
        struct stat found;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0
            || fstatat(dirfd(entries), entry->d_name, &found, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        int length = snprintf(line, sizeof line, "%llu %c %s\n", (unsigned long long)found.st_ino,
                              S_ISDIR(found.st_mode) ? 'd' : 'f', entry->d_name);
        own_write(copy, line, (size_t)length);
    }
    closedir(entries);
    close(copy);
    own_rename(draft, path);
}

static void keep(int descriptor, const struct stat *status)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    if (S_ISDIR(status->st_mode)) {
        keep_names(link, status);
    } else if ((fcntl(descriptor, F_GETFL) & O_ACCMODE) != O_WRONLY) {
        /* Not by opening it again: to close that would give back SQLite's locks on the file. */
        keep_file(descriptor, status);
    } else {
        int readable = own_open(link, O_RDONLY, 0);
        if (readable < 0)
            abort();
        keep_file(readable, status);
        close(readable);
    }
}

static void count_sync(void)
{
    char path[PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/syncs", shadow);
    int descriptor = own_open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    own_write(descriptor, ".", 1);
    close(descriptor);
}

static int synchronise(int descriptor, int (*really)(int))
{
    struct stat status;
    if (!descriptor_is_below(descriptor) || fstat(descriptor, &status) != 0)
        return really(descriptor);
    lock();
    int error = strikes("s");
    if (*shadow) {
        count_sync();
        if (!error)
            keep(descriptor, &status);
        else if (S_ISREG(status.st_mode))
            lose(descriptor, &status);
    }
    unlock();
    errno = error ? error : errno;
    return error ? -1 : (*shadow ? 0 : really(descriptor));
}

int fsync(int descriptor)
{
    return synchronise(descriptor, REAL(fsync));
}

int fdatasync(int descriptor)
{
    return synchronise(descriptor, REAL(fdatasync));
}

/* Keep the inode of a name that is about to go, so that its number is not given out again. */
static void bury(int directory, const char *path)
{
    static unsigned long buried;
    char grave[PATH_MAX + 64];
    int error = errno;
    if (*shadow) {
        lock();
        snprintf(grave, sizeof grave, "%s/grave/%d-%lu", shadow, getpid(), buried++);
        syscall(SYS_linkat, directory, path, AT_FDCWD, grave, 0);
        unlock();
    }
    errno = error;
}

/* Names */

static int is_new(int directory, const char *path, int flags)
{
    struct stat status;
    int error = errno;
    int missing = (flags & O_CREAT) && fstatat(directory, path, &status, 0) != 0;
    errno = error;
    return missing;
}

static int open_watched(int directory, const char *path, int flags, mode_t mode)
{
    if (*boot && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0)
        path = boot;
    if (name_is_below(directory, path)) {
        if (is_new(directory, path, flags)) {
            if (refused("wgc"))
                return -1;
        } else if ((flags & O_ACCMODE) != O_RDONLY && refused("c")) {
            return -1;
        }
    }
    return REAL(openat)(directory, path, flags, mode);
}

#define MODE_OF(flags)                                                      \
    mode_t mode = 0;                                                        \
    if (((flags) & O_CREAT) || ((flags) & O_TMPFILE) == O_TMPFILE) {        \
        va_list rest;                                                       \
        va_start(rest, flags);                                              \
        mode = (mode_t)va_arg(rest, int);                                   \
        va_end(rest);                                                       \
    }

int open(const char *path, int flags, ...)
{
    MODE_OF(flags)
    return open_watched(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    MODE_OF(flags)
    return open_watched(AT_FDCWD, path, flags | O_LARGEFILE, mode);
}

int openat(int directory, const char *path, int flags, ...)
{
    MODE_OF(flags)
    return open_watched(directory, path, flags, mode);
}

int openat64(int directory, const char *path, int flags, ...)
{
    MODE_OF(flags)
    return open_watched(directory, path, flags | O_LARGEFILE, mode);
}

int creat(const char *path, mode_t mode)
{
    return open_watched(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode);
}

int mkdir(const char *path, mode_t mode)
{
    if (name_is_below(AT_FDCWD, path) && refused("wgc"))
        return -1;
    return REAL(mkdir)(path, mode);
}

int linkat(int from, const char *old, int to, const char *new, int flags)
{
    if (name_is_below(to, new) && refused("wgc"))
        return -1;
    return REAL(linkat)(from, old, to, new, flags);
}

int link(const char *old, const char *new)
{
    return linkat(AT_FDCWD, old, AT_FDCWD, new, 0);
}

int unlinkat(int directory, const char *path, int flags)
{
    if (name_is_below(directory, path)) {
        if (refused("c"))
            return -1;
        bury(directory, path);
    }
    return REAL(unlinkat)(directory, path, flags);
}

int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

int renameat(int from, const char *old, int to, const char *new)
{
    if (name_is_below(to, new)) {
        if (refused("c"))
            return -1;
        bury(to, new);
    }
    return REAL(renameat)(from, old, to, new);
}

int rename(const char *old, const char *new)
{
    return renameat(AT_FDCWD, old, AT_FDCWD, new);
}

int faccessat(int directory, const char *path, int mode, int flags)
{
    if ((mode & W_OK) && name_is_below(directory, path) && refused("c"))
        return -1;
    return REAL(faccessat)(directory, path, mode, flags);
}

int access(const char *path, int mode)
{
    return faccessat(AT_FDCWD, path, mode, 0);
}

/* Contents */

/* How much of a write may go on: all, or half of the first that finds the disk full; -1 none. */
static ssize_t allowed(int descriptor, off_t offset, size_t length)
{
    struct stat status;
    if (!*control || length == 0 || !descriptor_is_below(descriptor)
        || fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode))
        return (ssize_t)length;
    lock();
    int grows = offset + (off_t)length > status.st_size;
    int error = strikes(grows ? "wgc" : "wc");
    int is_first = fault.seen == fault.first;
    unlock();
    if (!error)
        return (ssize_t)length;
    if (error == ENOSPC && is_first && length > 1)
        return (ssize_t)(length / 2);
    errno = error;
    return -1;
}

static off_t position(int descriptor)
{
    int error = errno;
    off_t offset = lseek(descriptor, 0, SEEK_CUR);
    errno = error;
    return offset < 0 ? 0 : offset;
}

ssize_t write(int descriptor, const void *octets, size_t length)
{
    if (!*control)
        return REAL(write)(descriptor, octets, length);
    off_t offset = position(descriptor);
    ssize_t part = allowed(descriptor, offset, length);
    if (part < 0)
        return -1;
    written_again(descriptor, offset, (size_t)part);
    return REAL(write)(descriptor, octets, (size_t)part);
}

ssize_t pwrite(int descriptor, const void *octets, size_t length, off_t offset)
{
    ssize_t part = allowed(descriptor, offset, length);
    if (part < 0)
        return -1;
    written_again(descriptor, offset, (size_t)part);
    return REAL(pwrite)(descriptor, octets, (size_t)part, offset);
}

ssize_t pwrite64(int descriptor, const void *octets, size_t length, off64_t offset)
{
    return pwrite(descriptor, octets, length, offset);
}

ssize_t pwritev(int descriptor, const struct iovec *parts, int count, off_t offset)
{
    ssize_t sum = 0;
    for (int i = 0; i < count; i++) {
        ssize_t written = pwrite(descriptor, parts[i].iov_base, parts[i].iov_len, offset + sum);
        if (written < 0)
            return sum > 0 ? sum : -1;
        sum += written;
        if ((size_t)written < parts[i].iov_len)
            break;
    }
    return sum;
}

ssize_t pwritev64(int descriptor, const struct iovec *parts, int count, off64_t offset)
{
    return pwritev(descriptor, parts, count, offset);
}

int ftruncate(int descriptor, off_t length)
{
    if (descriptor_is_below(descriptor) && refused("c"))
        return -1;
    return REAL(ftruncate)(descriptor, length);
}

int ftruncate64(int descriptor, off64_t length)
{
    return ftruncate(descriptor, length);
}

int fallocate(int descriptor, int mode, off_t offset, off_t length)
{
    if (descriptor_is_below(descriptor) && refused("wgc"))
        return -1;
    return REAL(fallocate)(descriptor, mode, offset, length);
}

int fallocate64(int descriptor, int mode, off64_t offset, off64_t length)
{
    return fallocate(descriptor, mode, offset, length);
}

int posix_fallocate(int descriptor, off_t offset, off_t length)
{
    if (descriptor_is_below(descriptor) && refused("wgc"))
        return errno;
    return REAL(posix_fallocate)(descriptor, offset, length);
}

int posix_fallocate64(int descriptor, off64_t offset, off64_t length)
{
    return posix_fallocate(descriptor, offset, length);
}
