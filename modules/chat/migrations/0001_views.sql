-- A message with the topic of its channel.
CREATE MATERIALIZED VIEW channel_messages AS
SELECT m.id, m.channel_id, c.topic AS channel_topic, m.sender, m.text, m.sent_at
FROM message AS m
JOIN channel AS c ON c.id = m.channel_id;

-- Messages per channel. A channel without messages has no row.
CREATE MATERIALIZED VIEW channel_stats AS
SELECT c.id AS channel_id, c.topic, count(*) AS messages, max(m.sent_at) AS last_message_at
FROM channel AS c
JOIN message AS m ON m.channel_id = c.id
GROUP BY c.id, c.topic;
