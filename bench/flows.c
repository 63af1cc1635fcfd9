/* Send UDP datagrams of 64 bytes and print how many a second. Over a veth the receiver's netfilter runs in the sender's
 * own system call, so the rate is what the rules leave of it.
 *   flows ADDRESS COUNT new|established
 * new: every datagram goes to another port, and so is a new flow; established: all belong to one. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

int main(int argc, char **argv)
{
    struct sockaddr_in to = { .sin_family = AF_INET };
    struct timespec begin, end;
    char payload[64] = { 0 };
    if (argc != 4 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1)
        return 2;
    long count = atol(argv[2]);
    int fresh = strcmp(argv[3], "new") == 0;
    int sender = socket(AF_INET, SOCK_DGRAM, 0);
    if (sender < 0)
        return 1;
    to.sin_port = htons(9);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (long n = 0; n < count; n++) {
        if (fresh)
            to.sin_port = htons(1024 + n % 60000);
        /* errors such as a port that nobody listens on are the receiver's answers, and part of the game */
        sendto(sender, payload, sizeof payload, 0, (struct sockaddr *)&to, sizeof to);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%.0f\n", count / (end.tv_sec - begin.tv_sec + (end.tv_nsec - begin.tv_nsec) / 1e9));
    return 0;
}
