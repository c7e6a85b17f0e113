/* A bad cable: two tap devices and what happens between them. For kernels without netem, and for damage that
 * no checksum shows. Usage: cable TAP_A TAP_B; then lines on stdin, each one direction's state from then on:
 *     ab|ba [loss=P] [dup=P] [reorder=P] [corrupt=P] [delay_us=N] [jitter_us=N] [rate_kbit=N]
 * P is a share of frames. "corrupt" changes a byte of a TCP payload and makes its checksum right again. Every
 * line is answered by "ok" on stdout. Ends with stdin. */
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { FRAME_MAX = 2048, QUEUE_MAX = 4096, ETHERNET = 14, REORDER_US = 2000 };

typedef struct frame {
    uint64_t due_ns;
    uint16_t bytes;
    uint8_t data[FRAME_MAX];
} frame;

typedef struct direction {
    int from, to;
    double loss, dup, reorder, corrupt;
    uint64_t delay_ns, jitter_ns, rate_kbit;
    uint64_t line_free_ns; /* when the last frame has left, at this rate */
    frame *queue;          /* [QUEUE_MAX], a heap by due_ns */
    size_t count;
    unsigned seed;
} direction;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int open_tap(const char *name)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) fail("/dev/net/tun");
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    if (ioctl(fd, TUNSETIFF, &request) != 0) fail(name);
    return fd;
}

static double draw(direction *d)
{
    return (double)rand_r(&d->seed) / ((double)RAND_MAX + 1);
}

static void swap_frames(frame *a, frame *b)
{
    static frame spare;
    spare = *a;
    *a = *b;
    *b = spare;
}

static void push(direction *d, const uint8_t *data, size_t bytes, uint64_t due_ns)
{
    if (d->count == QUEUE_MAX) return; /* as a switch does */
    size_t at = d->count++;
    d->queue[at].due_ns = due_ns;
    d->queue[at].bytes = (uint16_t)bytes;
    memcpy(d->queue[at].data, data, bytes);
    for (; at > 0 && d->queue[at].due_ns < d->queue[(at - 1) / 2].due_ns; at = (at - 1) / 2)
        swap_frames(&d->queue[at], &d->queue[(at - 1) / 2]);
}

static void pop(direction *d)
{
    d->queue[0] = d->queue[--d->count];
    for (size_t at = 0;;) {
        size_t least = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < d->count; child++)
            if (d->queue[child].due_ns < d->queue[least].due_ns) least = child;
        if (least == at) return;
        swap_frames(&d->queue[at], &d->queue[least]);
        at = least;
    }
}

/* Where the TCP payload of an IPv4 frame begins; 0: it has none. *ret_checksum: where its checksum is. */
static size_t find_payload(const uint8_t *f, size_t bytes, size_t *ret_checksum)
{
    if (bytes < ETHERNET + 40 || f[12] != 8 || f[13] != 0 || f[ETHERNET + 9] != 6) return 0;
    size_t ip = (size_t)(f[ETHERNET] & 15) * 4, tcp = ETHERNET + ip;
    size_t total = ETHERNET + (size_t)(f[ETHERNET + 2] << 8 | f[ETHERNET + 3]);
    if (tcp + 20 > bytes || total > bytes) return 0;
    size_t payload = tcp + (size_t)(f[tcp + 12] >> 4) * 4;
    *ret_checksum = tcp + 16;
    return payload < total ? payload : 0;
}

/* Changes one byte, and the checksum as RFC 1624 says, so that only what is above TCP can notice. */
static void damage(direction *d, uint8_t *f, size_t bytes)
{
    size_t checksum = 0, payload = find_payload(f, bytes, &checksum);
    if (payload == 0) return;
    size_t at = payload + (size_t)(draw(d) * (double)(bytes - payload)), even = at - (at - payload) % 2;
    if (even + 1 >= bytes) return;
    uint32_t before = (uint32_t)(f[even] << 8 | f[even + 1]);
    f[at] ^= (uint8_t)(1 + rand_r(&d->seed) % 255);
    uint32_t after = (uint32_t)(f[even] << 8 | f[even + 1]);
    uint32_t sum = (uint32_t)(f[checksum] << 8 | f[checksum + 1]);
    sum = (~sum & 0xffff) + (~before & 0xffff) + after;
    sum = (sum & 0xffff) + (sum >> 16);
    sum = ~((sum & 0xffff) + (sum >> 16)) & 0xffff;
    f[checksum] = (uint8_t)(sum >> 8);
    f[checksum + 1] = (uint8_t)sum;
}

static void take_frames(direction *d)
{
    uint8_t data[FRAME_MAX];
    ssize_t bytes;
    while ((bytes = read(d->from, data, sizeof data)) > 0) {
        if (draw(d) < d->loss) continue;
        if (draw(d) < d->corrupt) damage(d, data, (size_t)bytes);
        uint64_t now = now_ns();
        if (d->line_free_ns < now) d->line_free_ns = now;
        if (d->rate_kbit > 0) d->line_free_ns += (uint64_t)bytes * 8000000u / d->rate_kbit;
        uint64_t due = d->line_free_ns + d->delay_ns + (uint64_t)(draw(d) * (double)d->jitter_ns);
        if (draw(d) < d->reorder) due += REORDER_US * UINT64_C(1000);
        push(d, data, (size_t)bytes, due);
        if (draw(d) < d->dup) push(d, data, (size_t)bytes, due);
    }
}

static void send_due(direction *d)
{
    uint64_t now = now_ns();
    while (d->count > 0 && d->queue[0].due_ns <= now) {
        if (write(d->to, d->queue[0].data, d->queue[0].bytes) <
            0) { /* the other side is down: a frame lost */
        }
        pop(d);
    }
}

static void set_state(direction *d, char *words)
{
    d->loss = d->dup = d->reorder = d->corrupt = 0;
    d->delay_ns = d->jitter_ns = d->rate_kbit = 0;
    char *rest;
    for (char *word = strtok_r(words, " \n", &rest); word != NULL; word = strtok_r(NULL, " \n", &rest)) {
        char name[16];
        double value;
        if (sscanf(word, "%15[a-z_]=%lf", name, &value) != 2) {
            fprintf(stderr, "cable: %s?\n", word);
            exit(2);
        }
        if (strcmp(name, "loss") == 0) d->loss = value;
        if (strcmp(name, "dup") == 0) d->dup = value;
        if (strcmp(name, "reorder") == 0) d->reorder = value;
        if (strcmp(name, "corrupt") == 0) d->corrupt = value;
        if (strcmp(name, "delay_us") == 0) d->delay_ns = (uint64_t)(value * 1000);
        if (strcmp(name, "jitter_us") == 0) d->jitter_ns = (uint64_t)(value * 1000);
        if (strcmp(name, "rate_kbit") == 0) d->rate_kbit = (uint64_t)value;
    }
}

static void make(direction *d, int from, int to, unsigned seed)
{
    *d = (direction){.from = from, .to = to, .seed = seed};
    d->queue = calloc(QUEUE_MAX, sizeof *d->queue);
    if (d->queue == NULL) fail("memory");
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: cable TAP_A TAP_B\n");
        return 2;
    }
    static direction way[2];
    int a = open_tap(argv[1]), b = open_tap(argv[2]);
    make(&way[0], a, b, 1);
    make(&way[1], b, a, 2);
    puts("ok");
    fflush(stdout);
    for (;;) {
        uint64_t next = UINT64_MAX, now = now_ns();
        for (int i = 0; i < 2; i++)
            if (way[i].count > 0 && way[i].queue[0].due_ns < next) next = way[i].queue[0].due_ns;
        struct timespec wait = {1, 0};
        if (next != UINT64_MAX) wait = (struct timespec){0, next > now ? (long)(next - now) % 1000000000 : 0};
        struct pollfd fds[] = {{a, POLLIN, 0}, {b, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
        ppoll(fds, 3, &wait, NULL);
        for (int i = 0; i < 2; i++) {
            if (fds[i].revents != 0) take_frames(&way[i]);
            send_due(&way[i]);
        }
        if (fds[2].revents == 0) continue;
        char line[512];
        if (fgets(line, sizeof line, stdin) == NULL) return 0;
        if (strncmp(line, "ab", 2) == 0) set_state(&way[0], line + 2);
        if (strncmp(line, "ba", 2) == 0) set_state(&way[1], line + 2);
        puts("ok");
        fflush(stdout);
    }
}
