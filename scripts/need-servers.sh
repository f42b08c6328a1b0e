#!/usr/bin/env bash
# Checks that RabbitMQ, Redis, Chromium, Prometheus and nginx are installed: installs missing ones by apt-get if it may, else uses
# those that HUB_TEST_* name, else fails and prints what to do.
set -euo pipefail
cd "$(dirname "$0")/.."

have() {
    local program
    for program in "$@"; do
        if command -v "$program" >/dev/null; then
            return 0
        fi
    done
    return 1
}

missing() {
    have rabbitmq-server /usr/sbin/rabbitmq-server || echo rabbitmq-server
    have redis-server || echo redis-server
    have "${HUB_TEST_CHROMIUM:-chromium}" || echo chromium
    { have prometheus && have promtool; } || echo prometheus
    have nginx /usr/sbin/nginx || echo nginx
}

mapfile -t packages < <(missing)
if [ ${#packages[@]} = 0 ] || scripts/apt-install.sh "${packages[@]}"; then
    exit 0
fi

stop=
for package in "${packages[@]}"; do
    case $package in
        rabbitmq-server) variable=HUB_TEST_AMQP_URL what="a RabbitMQ that tests may use" ;;
        redis-server) variable=HUB_TEST_REDIS_URL what="a Redis that tests may use" ;;
        chromium) variable=HUB_TEST_CHROMIUM what="a Chromium program" ;;
        prometheus) variable=PATH what="one with prometheus and promtool in it" ;;
        nginx) variable=PATH what="one with nginx in it" ;;
    esac
    if [ "$package" = chromium ] || [ "$variable" = PATH ] || [ -z "${!variable:-}" ]; then
        echo "the tests need $package: run \`apt-get install $package\` as root, or set $variable to $what" >&2
        stop=1
    else
        echo "no $package here: taking $variable. Tests that kill their server need the installed one and will fail;" \
            "leave them out with: make test ARGS=\"-m 'not kills_servers'\"" >&2
    fi
done
[ -z "$stop" ]
