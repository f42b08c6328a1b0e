"""Dead letters: reading them, keeping the records of their tasks true, and putting their tasks back to work."""

from hub.dead_letters.letter import DeadLetter as DeadLetter, read_letters as read_letters
from hub.dead_letters.records import records_of as records_of, settle_broker_deaths as settle_broker_deaths
from hub.dead_letters.replay import Replayed as Replayed, Replayer as Replayer
from hub.dead_letters.selection import Selection as Selection, select as select
