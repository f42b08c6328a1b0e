#!/bin/sh
# Writes secrets.env with new random secrets, readable by you alone. Leaves one that exists as it is.
set -eu
cd "$(dirname "$0")"
[ ! -e secrets.env ] || { echo "secrets.env exists; remove it to make new secrets" >&2; exit 1; }
secret() { head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n'; }
rabbitmq=$(secret)
umask 077
cat >secrets.env <<END
HUB_TOKEN=$(secret)
HUB_API_KEYS=$(secret)
RABBITMQ_PASSWORD=$rabbitmq
HUB_BROKER_URL=amqp://hub:$rabbitmq@rabbitmq:5672
HUB_STORE_URL=redis://redis:6379/0
HUB_DIRECTORY_URL=redis://redis:6379/0
END
