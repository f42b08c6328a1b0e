-- ARGV: milliseconds after which a contract without an instance is dropped, how many at most.
-- Answers how many were dropped.
complete_contracts()
local found = unused_since(whole(now_ms() - tonumber(ARGV[1])), tonumber(ARGV[2]))
for _, key in ipairs(found) do
  drop_contract(key)
end
return #found
